"""The Trainer: the one loop that every method runs in."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from clipdistill.engine.bad_samples import BadSamples
from clipdistill.engine.checkpoint import drop_replaced, load_latest, save_checkpoint
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.engine.micro_batches import REPORT, moved
from clipdistill.engine.optimizer import Average, learning_rate, make_optimizer, set_learning_rate
from clipdistill.engine.rng import all_states, restore_all_states
from clipdistill.engine.throughput import Throughput, matmul_peak
from clipdistill.engine.tracking import Meter, Metrics
from clipdistill.errors import Interrupted, LostWorker, UserError
from clipdistill.recipe import Recipe
from clipdistill.tasks.base import Task

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # a scheduler, Ctrl-C, a terminal that was closed


class Batches(Protocol):
    """What the Trainer asks of a loader: batches that are a pure function of the epoch, from any of them on."""

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """Batches `start`, `start + 1`, ... of an epoch."""
        ...


class Trainer:
    """Trains a Task; everything it leaves lies in the run's folder.

    Args:
        task: on the device already.
        loader: gives this rank's part of each batch.
        recipe: `recipe.train` holds the settings; the whole of it is kept in checkpoints and compared on resuming.
        folder: the run's folder; it exists.
        flops_per_pair: forward FLOPs of the student for a pair, for the MFU.
        samples: size of the data set, for the share of bad samples.
        bad: samples known to be unreadable before the first step: id -> reason.
    """

    def __init__(
        self, task: Task, loader: Batches, recipe: Recipe, folder: Path, *,
        flops_per_pair: float = 0.0, samples: int = 0, bad: Mapping[str, str] | None = None, ranks: Ranks | None = None,
    ) -> None:  # fmt: skip
        self.task, self.loader, self.recipe, self.folder = task, loader, recipe, folder
        self.settings = recipe.train
        self.ranks = ranks or Ranks.current()
        self.total_steps = min(
            loader.steps_per_epoch * self.settings.epochs, self.settings.max_steps or loader.steps_per_epoch * 10**9
        )
        if self.total_steps == 0:
            raise UserError("`train.batch_size` is larger than the data set: not one step can be made; lower it")
        self.optimizer = make_optimizer(task, self.settings)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = Average(task.student, self.settings.ema) if self.settings.ema else None
        self.step = 0
        name = "bad_samples.jsonl" if self.ranks.is_main else f"bad_samples.{self.ranks.rank}.jsonl"
        self.bad = BadSamples(folder / name, samples, recipe.data.max_bad_share)
        self._known_bad = dict(bad or {})
        self._flops = flops_per_pair
        self._sums: dict[str, float] = {}  # of the terms since the last line of metrics
        self._stop = False

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    def fit(self, resume: bool = False, on_step: Callable[[int], None] | None = None) -> None:
        """Train to the last step.

        Raises:
            UserError: a term went NaN or infinite (with the batch's sample positions), too many bad samples.
            Interrupted: a signal came; a checkpoint holds all that was done.
        """
        if resume:
            self._restore()
        self.bad.note({"id": one, "reason": why} for one, why in self._known_bad.items())
        settings, device = self.settings, self.ranks.device
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        throughput = Throughput(self._flops, matmul_peak(device, dtype), device)
        metrics = (
            Metrics(self.folder, list(settings.trackers), self.recipe.model_dump(mode="json"), self.step)
            if self.ranks.is_main
            else None
        )
        self.task.train()
        sums = self._sums
        with self._signals(), Meter("training", self.total_steps, self.step, quiet=not self.ranks.is_main) as meter:
            for epoch, batch in self._batches():
                values = self.train_step(batch)
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
                throughput.count(settings.batch_size)
                self.bad.note(batch.get(REPORT, ()))
                last = self.step == self.total_steps
                if self.step % settings.log_every == 0 or last:
                    count = (
                        settings.log_every if self.step % settings.log_every == 0 else self.step % settings.log_every
                    )
                    line = {
                        "step": self.step,
                        "epoch": epoch,
                        **{k: v / count for k, v in sums.items()},
                        **throughput.read(),
                    }
                    sums.clear()
                    if metrics is not None:
                        metrics.log(line)
                    note = (
                        f"loss {line['loss']:.3f}, {line['samples_per_second']:.0f} pairs/s, MFU {line['mfu']:.0%}, "
                        f"{line['peak_memory_mb']:,.0f} MB"
                    )
                    meter.advance(0, note)
                meter.advance(1)
                stop = self.ranks.any(self._stop)
                ended = settings.keep_epochs and self.step % self.loader.steps_per_epoch == 0
                if self.step % settings.checkpoint_every == 0 or last or stop or ended:
                    self.save()
                if on_step is not None:
                    on_step(self.step)
                if stop and not last:
                    raise Interrupted(f"stopped after step {self.step} of {self.total_steps}")
        if metrics is not None:
            metrics.close()
        if self.average is not None:
            self.task.student.load_state_dict(self.average.values)

    def train_step(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """One optimizer step; returns `loss`, `loss/<term>`, `lr` and `grad_norm`."""
        batch = moved(batch, self.ranks.device)
        settings = self.settings
        rate = learning_rate(self.step, self.total_steps, settings, self.loader.steps_per_epoch)
        set_learning_rate(self.optimizer, rate)
        autocast = partial(torch.autocast, self.ranks.device.type, torch.bfloat16, enabled=settings.precision == "bf16")
        terms = backward(self.task, batch, self.ranks, self._micro(), autocast)
        self.ranks.average_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm or math.inf)
        names = list(terms)
        stacked = torch.stack([*(terms[name].double() for name in names), norm.double()])
        *means, norm_value = self.ranks.mean(stacked).tolist()
        losses = dict(zip(names, means, strict=True))
        self._check_finite({**losses, "gradient norm": norm_value}, batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.after_step()
        if self.average is not None:
            self.average.update(self.task.student)
        self.step += 1
        total = sum(self.task.weights[name] * value for name, value in losses.items())
        return {"loss": total, **{f"loss/{k}": v for k, v in losses.items()}, "lr": rate, "grad_norm": norm_value}

    def save(self) -> None:
        """Write a checkpoint of this moment; every rank takes part."""
        broken = [item.name for item in self.task.trainable() if not bool(item.parameter.isfinite().all())]
        if broken:
            raise UserError(
                f"step {self.step}: `{broken[0]}` has values that are not finite; nothing was saved and the "
                f"checkpoints in {self.checkpoints} are from before it. Lower train.lr or set train.clip_norm"
            )
        random_states, bad = self.ranks.objects(all_states()), self.ranks.objects(self.bad.found)
        if self.ranks.is_main:
            state = {
                "recipe": self.recipe.model_dump(mode="json"),
                "task": self.task.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.values if self.average else None,
                "random": random_states,
                "bad": bad,
                "sums": dict(self._sums),
            }
            save_checkpoint(self.checkpoints, self.step, state, self.settings.keep_checkpoints)
        self.ranks.barrier()

    def _restore(self) -> None:
        state = load_latest(self.checkpoints, self.recipe.model_dump(mode="json"))
        if state is None:
            self.bad.restore({})  # what a try without a checkpoint has met will be met again
            return
        if len(state["random"]) != self.ranks.world_size:
            raise UserError(f"{self.checkpoints}: written by {len(state['random'])} processes; resume with as many")
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.values = {k: v.to(self.ranks.device) for k, v in state["average"].items()}
        self.step, self._sums = state["step"], state["sums"]
        self.bad.restore(state["bad"][self.ranks.rank])
        restore_all_states(state["random"][self.ranks.rank])
        if self.ranks.is_main:
            drop_replaced(self.checkpoints, self.step, self.settings.keep_checkpoints)

    def _batches(self) -> Iterator[tuple[int, dict[str, Any]]]:
        while self.step < self.total_steps:
            epoch, start = divmod(self.step, self.loader.steps_per_epoch)
            try:
                for batch in self.loader.epoch(epoch, start):
                    yield epoch, batch
                    if self.step >= self.total_steps:
                        return
            except LostWorker:
                if self.step and self.ranks.world_size == 1:  # other ranks can't know that one saves
                    self.save()
                raise

    def _micro(self) -> int | None:
        micro = self.settings.micro_batch
        local = self.settings.batch_size // self.ranks.world_size
        return None if micro is None or micro >= local else micro

    def _check_finite(self, values: Mapping[str, float], batch: Mapping[str, Any]) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            ids = batch["sample"][:8].tolist() if "sample" in batch else []
            raise UserError(
                f"step {self.step}: `{broken[0]}` is {values[broken[0]]}; samples of the batch start {ids}. The last "
                f"checkpoint in {self.checkpoints} is from before it; lower train.lr or set train.clip_norm"
            )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: object) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            saved = {number: signal.signal(number, stop) for number in STOPS}
        except ValueError:  # not the main thread: the caller's business
            saved = {}
        try:
            yield
        finally:
            for number, handler in saved.items():
                signal.signal(number, handler)
