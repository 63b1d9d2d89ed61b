"""Our Trainer against open_clip's own training loop, on the same model and batches. See `--help`.

Both train the same architecture from the same weights with InfoNCE and AdamW on the same batches, in memory before the
clock starts, and both log every 10 steps. open_clip's side is `open_clip_train.train.train_one_epoch`, called as its
`main.py` calls it (its ClipLoss, its parameter groups, AdamW without options of ours). It is handed normalised floats,
as its own data loader does; ours is handed bytes and normalises inside the step. Steps are timed from hooks that both
loops have: the scheduler that open_clip calls at the start of a step, and the Trainer's `on_step`. At the end the
weights of both are compared, so that it is known that the same work was done.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("CLIPDISTILL_QUIET", "1")

import torch
from measuring import clock, interleave, machine, ratio, recipe_for, show, small_world, summary, wait
from torch import Tensor

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.fields import encoder_fields
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.trainer import Trainer
from clipdistill.models import create_model
from clipdistill.tasks import Contrastive

TRAIN: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.98), "eps": 1e-6}


class InMemory:
    """The first batches of an epoch, over and over, as the Trainer takes them."""

    def __init__(self, batches: list[dict[str, Any]]) -> None:
        self.batches, self.steps_per_epoch = batches, len(batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, Any]]:
        return iter(self.batches[start:])


class Recorder:
    """Times between the steps of one loop: the first step warms up, the last may write a checkpoint."""

    def __init__(self, now: Callable[[], float], device: str) -> None:
        self.now, self.device = now, device
        self.at: list[float] = []

    def __call__(self, step: int) -> None:
        wait(self.device)
        self.at.append(self.now())

    def rate(self, batch: int) -> float:
        spans = [b - a for a, b in zip(self.at, self.at[1:], strict=False)][:-1]
        return batch / statistics.median(spans)


def ours(student: Any, batches: list[dict[str, Any]], recipe: Any, recorder: Recorder) -> None:
    """Train on all batches once with the Trainer."""
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_steps": len(batches)})})
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(Contrastive(student), InMemory(batches), recipe, Path(folder))
        trainer.fit(on_step=recorder)


def theirs(clip: Any, batches: list[tuple[Tensor, Tensor]], batch: int, precision: str, recorder: Recorder) -> None:
    """Train on all batches once with open_clip's loop."""
    from open_clip import ClipLoss
    from open_clip_train.train import train_one_epoch

    device = str(next(clip.parameters()).device)

    def is_scale(name: str, parameter: Tensor) -> bool:
        return parameter.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name

    named = [(name, parameter) for name, parameter in clip.named_parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if is_scale(n, p)], "weight_decay": 0.0},
            {"params": [p for n, p in named if not is_scale(n, p)], "weight_decay": TRAIN["weight_decay"]},
        ],
        lr=TRAIN["lr"],
        betas=TRAIN["betas"],
        eps=TRAIN["eps"],
    )

    class Dataloader:
        num_batches, num_samples = len(batches), len(batches) * batch

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(batches)

    args = SimpleNamespace(
        device=device, precision={"fp32": "fp32", "bf16": "amp_bf16"}[precision], distill=False, accum_freq=1,
        skip_scheduler=False, grad_clip_norm=None, horovod=False, rank=0, local_rank=0, world_size=1,
        batch_size=batch, log_every_n_steps=10, log_local=False, wandb=False, distributed=False,
    )  # fmt: skip
    data = {"train": SimpleNamespace(set_epoch=lambda _epoch: None, dataloader=Dataloader())}
    train_one_epoch(clip, data, ClipLoss(), 0, optimizer, None, recorder, None, args)
    recorder(len(batches))


@torch.no_grad()
def largest_difference(one: Any, other: Any) -> float:
    """The largest difference between the parameters of two models of one shape."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="petri-student")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12, help="steps a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--threads", type=int, help="CPU threads; none = torch's choice")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: where others share the machine")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    now, device = clock(options.clock), str(Ranks.current().device)
    facts = machine(device)

    start = create_model(options.student, 0, device=device)
    with small_world(options.batch * options.steps, max(start.preprocess["size"])) as world:
        mixture = Mixture([(open_source(f"karpathy:{world / 'dataset_petri.json'}@train"), None)])
        loader = Loader(
            mixture,
            encoder_fields("student", start),
            batch_size=options.batch,
            plan=AugmentPlan(crop_scale=(0.9, 1.0)),
            seed=0,
        )
        batches = [{k: v.to(device) if isinstance(v, Tensor) else v for k, v in b.items()} for b in loader.epoch(0)]
        recipe = recipe_for(world, options.batch, precision=options.precision, log_every=10, **TRAIN)
    floats = [(start.normalise_pixels(batch["image/student"]), batch["text/student"]) for batch in batches]
    trained: dict[str, Any] = {}

    def run_ours() -> float:
        student, recorder = create_model(options.student, 0, device=device), Recorder(now, device)
        ours(student, batches, recipe, recorder)
        trained["ours"] = student.clip
        return recorder.rate(options.batch)

    def run_theirs() -> float:
        clip, recorder = create_model(options.student, 0, device=device).clip, Recorder(now, device)
        clip.output_dict = True
        theirs(clip, floats, options.batch, options.precision, recorder)
        trained["theirs"] = clip
        return recorder.rate(options.batch)

    rates = interleave({"clipdistill Trainer": run_ours, "open_clip train_one_epoch": run_theirs}, options.rounds)
    own, other = rates["clipdistill Trainer"], rates["open_clip train_one_epoch"]
    apart = largest_difference(trained["ours"], trained["theirs"])
    moved = largest_difference(trained["ours"], start.clip)
    facts |= {
        "student": options.student, "batch": options.batch, "precision": options.precision, "clock": options.clock,
        "rounds": options.rounds, "steps a round": options.steps, "largest difference of a weight afterwards": apart,
        "largest move of a weight": moved,
    }  # fmt: skip
    rows = [(name, summary(values), "samples/s") for name, values in rates.items()]
    rows.append(("samples/s of the Trainer / of open_clip's loop", ratio(own, other), "x"))
    show("the Trainer and open_clip's training loop", rows, facts, options.json)
    print(f"  weights afterwards differ by at most {apart:.1e}, having moved by up to {moved:.1e}")


if __name__ == "__main__":
    main()
