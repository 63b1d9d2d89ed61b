"""Batches for training and for evaluation.

A training batch is a pure function of (seed, epoch, batch number): the order, the augmentation, the caption and the
stand-in for a bad sample are all drawn by hash from what they are for. There is no loader state: a run that stopped
after batch k of epoch e goes on with `Loader.epoch(e, start=k)`, exactly, with any number of workers. That is why a
plain torch DataLoader is enough and torchdata's StatefulDataLoader isn't needed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from clipdistill.data.assemble import BatchMaker
from clipdistill.data.fields import Captions, Field, Label, Picture
from clipdistill.data.mixture import Mixture
from clipdistill.data.order import epoch_order
from clipdistill.data.sources.base import Source
from clipdistill.data.transforms import AugmentPlan, ImageView
from clipdistill.errors import LostWorker, UserError
from clipdistill.waits import limit, too_long

Batch = dict[str, Any]
LOOK = 5.0  # seconds without a batch, after which torch looks whether the processes that make it live


class Loader:
    """Training batches of a mixture, one rank's share of each.

    fields: what a batch holds, by name (`Task.fields`); equal fields share one tensor. batch_size: samples a rank.
    The batches of all ranks side by side are those of one process with `world_size * batch_size`. Rows that don't
    fill a last global batch wait for another epoch's order.

    Raises:
        UserError: fewer samples than one global batch, or a field that the data can't fill.
    """

    def __init__(
        self,
        mixture: Mixture,
        fields: Mapping[str, Field],
        *,
        batch_size: int,
        plan: AugmentPlan,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        shuffle: bool = True,
    ) -> None:
        self.global_batch = batch_size * world_size
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it should be at least 1")
        if mixture.visits < self.global_batch:
            raise UserError(
                f"batch_size {self.global_batch:,} (all ranks) is more than the {mixture.visits:,} samples of an epoch;"
                " lower batch_size or take more data"
            )
        for each in fields.values():
            each.check(mixture)
        self.mixture = mixture
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.shuffle = shuffle
        self.workers = workers
        self._make = BatchMaker(mixture, fields, plan, seed, batch_size, rank)
        self._jobs = _Jobs()
        self._loader: DataLoader[Any] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in an epoch."""
        return self.mixture.visits // self.global_batch

    def order(self, epoch: int) -> np.ndarray:
        """Return the positions that `epoch` visits, int64 [steps_per_epoch * global batch]."""
        order = epoch_order(self.mixture, self.seed, epoch, self.shuffle)
        return order[: self.steps_per_epoch * self.global_batch]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch` from number `start` on.

        A batch: "sample" int64 [B] position in the mixture; "view" int64 [B]; "caption" int64 [B] which of the
        sample's captions was drawn (-1 = it has none); each field under its name; "bad": list of {"id", "reason"},
        samples that failed and whose places others have taken, so that B never changes.

        Raises:
            UserError: sample after sample can't be read.
        """
        order = self.order(epoch).reshape(-1, self.global_batch)
        self._jobs.work = [(epoch, rows) for rows in order[start:]]
        if self._loader is None:
            self._loader = _torch_loader(self._make, self._jobs, self.workers, persistent=True)
        failure: UserError | None = None
        for batch in _batches(self._loader):
            if isinstance(batch, UserError):
                failure = batch
                break
            yield batch
        if failure is not None:
            self._loader = None  # ends the workers now: held by a traceback, they would take 5 seconds to go
            raise failure


def evaluation_batches(
    data: Source | Mixture,
    view: ImageView | None,
    batch_size: int,
    workers: int = 0,
    *,
    plan: AugmentPlan | None = None,
    plan_view: int = 0,
    rows: Sequence[int] | np.ndarray | None = None,
    fields: Mapping[str, Field] | None = None,
) -> Iterator[Batch]:
    """Yield every sample once, in order, under the evaluation transform; the last batch may be smaller.

    A batch: "sample" int64 [B] positions; "captions" list of B tuples; "image/model" uint8 [B, 3, H, W] unless `view`
    is None; "label" int64 [B] if `data` has classes; "bad": list of {"id", "reason"}. Bad samples are left out, so
    B may be smaller than `batch_size`, and even 0.

    plan, plan_view: show augmented view number `plan_view` instead. It is made just as `Loader` makes it, so a store
    written from these pictures fits what a student sees later. rows: visit these positions only, in this order.
    fields: what a batch holds besides.
    """
    held: dict[str, Field] = {"captions": Captions(), **(fields or {})}
    if view is not None:
        held["image/model"] = Picture(view)
    if data.classes is not None:
        held["label"] = Label()
    maker = BatchMaker(data, held, plan, 0, batch_size, 0)
    positions = np.arange(len(data)) if rows is None else np.asarray(rows, dtype=np.int64)
    jobs = _Jobs()
    jobs.work = [(plan_view, positions[i : i + batch_size]) for i in range(0, len(positions), batch_size)]
    for batch in _batches(_torch_loader(maker.in_order(), jobs, workers, persistent=False)):
        if isinstance(batch, UserError):
            raise batch
        yield batch


class _Jobs:
    """What the DataLoader's sampler hands to workers; refilled for each epoch while the workers stay."""

    def __init__(self) -> None:
        self.work: list[tuple[int, np.ndarray]] = []

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        return iter(self.work)

    def __len__(self) -> int:
        return len(self.work)


def _torch_loader(dataset: Any, jobs: _Jobs, workers: int, persistent: bool) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        sampler=jobs,
        batch_size=None,  # an element of the dataset is a whole batch, and stays as it is
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=_start_worker if workers else None,
        persistent_workers=persistent and workers > 0,
        prefetch_factor=4 if workers else None,
        timeout=min(LOOK, limit("BATCH")) if workers else 0,
        # Without one of its own, the start of each epoch takes a number from the global generator: resume would differ.
        generator=torch.Generator(),
    )


def _batches(loader: DataLoader[Any]) -> Iterator[Any]:
    """What a loader yields; a UserError when one of its processes was killed, or none gives a batch any more.

    torch would say that by an exception wherever the main process is, such as amid an optimizer's step. Its handler is
    taken away, and the loss is seen where the next batch is waited for.
    """
    before = signal.getsignal(signal.SIGCHLD)
    killed = f"`data.workers`: one of {loader.num_workers} processes was killed, as happens where memory is short"
    lost = f"{killed}; go on with fewer of them"
    batches: Any = None
    try:
        batches = iter(loader)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)
        waited = 0.0
        while waited < limit("BATCH"):
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader timed out" not in str(error):
                    raise
                waited += loader.timeout
            else:
                waited = 0.0
                yield batch
        _kill_workers()
        yield LostWorker(
            f"`data.workers`: no batch came for {too_long('BATCH')}, so a disk or one of {loader.num_workers} "
            "processes hangs; see to it, and give the same command again, with --resume for a training"
        )
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        yield LostWorker(lost)
    except (OSError, EOFError):
        # Killed as it handed a batch over: the connection breaks before anyone looks whether it lives.
        if all(worker.is_alive() for worker in getattr(batches, "_workers", ())):
            raise
        yield LostWorker(lost)


def _kill_workers() -> None:
    """End processes that hang: asked to end they wouldn't, and this one would wait for them at its own end."""
    for child in multiprocessing.active_children():
        child.kill()


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    """Leave stopping to the main process, which a scheduler or a terminal signals too: it wants this batch for its
    last step, and ends its workers then.
    """
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        threading.Thread(target=_end_for, args=(os.getppid(),), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads don't survive the fork, and it warns of that


def _end_for(main: int) -> None:
    """Wait for a SIGTERM of the main process, however busy this one is; anybody else's means that process too."""
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid != main:
        pass
    os._exit(143)
