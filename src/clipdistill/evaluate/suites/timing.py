"""What a suite will take with a model, from a small part of its data that is really run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from clipdistill.evaluate.embed import Embedded, embed_batches, picture_batches
from clipdistill.evaluate.suites import Evaluation
from clipdistill.evaluate.suites.base import Job, RegionsOf

WARM, TIMED = 4, 16
"""Pictures or questions of each source that are run to warm up, and those that are timed."""


@dataclass
class Pace:
    """Seconds and how many of a kind, so far."""

    seconds: float = 0.0
    count: int = 0

    @property
    def each(self) -> float:
        """Seconds of one."""
        return self.seconds / self.count if self.count else 0.0


@dataclass(frozen=True)
class TimedJob(Job):
    """A job that notes what embedding costs; `workers` are those of the run, and here decode nothing."""

    pictures: Pace = field(default_factory=Pace)
    words: Pace = field(default_factory=Pace)
    wall: Pace = field(default_factory=Pace)
    """All that embedding took here, where nothing hides behind anything."""

    def images(self, source: Any, squash: bool = False) -> Embedded:
        """As a job's; with workers, decoding hides behind the model, or the model behind decoding."""
        began = time.perf_counter()
        batches = list(picture_batches(self.model, source, self.batch_size, 0, squash))
        loaded = time.perf_counter()
        found = embed_batches(self.model, batches, total=len(source), device=self.device)
        done = time.perf_counter()
        loading, encoding = loaded - began, done - loaded
        self.pictures.seconds += max(loading / self.workers, encoding) if self.workers else loading + encoding
        self.pictures.count += len(source)
        self.wall.seconds += done - began
        return found

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """As a job's."""
        began = time.perf_counter()
        found = super().texts(texts)
        self.words.seconds += time.perf_counter() - began
        self.words.count += len(set(texts))
        self.wall.seconds += time.perf_counter() - began
        return found


@dataclass(frozen=True)
class Cost:
    """Seconds of a suite with a model, and of one picture in it (0 where pictures aren't embedded by themselves)."""

    seconds: float
    a_picture: float


def suite_cost(
    evaluation: Evaluation, model: Any, device: torch.device, workers: int = 0,
    regions: RegionsOf | None = None, teachers: Mapping[str, Any] | None = None,
) -> Cost | None:  # fmt: skip
    """Run a part of a suite's data, after a smaller one that isn't counted, and say what all of it will take.

    Embedding grows with the pictures and with the different texts, the rest with the data. What grows faster than the
    data, such as comparing all pictures with all texts, is a small share next to embedding and is taken as that.

    Args:
        workers: processes that will decode pictures. regions, teachers: as for `Evaluation.run`.

    Returns:
        None where the suite can't be run in part.
    """
    if evaluation.left_out(model, teachers):
        return Cost(0.0, 0.0)
    found: Cost | None = None
    for most in (WARM, TIMED):
        trial = evaluation.suite.trial(evaluation.opened, evaluation.options, model.KIND, most)
        if trial is None:
            return None
        part = replace(evaluation, opened=trial.opened, options=trial.options)
        job = TimedJob(model, device, TIMED, workers, None, None, regions, part.fitting(teachers or {}))
        began = time.perf_counter()
        part.suite.run(job, part.opened, part.options)
        rest = max(0.0, time.perf_counter() - began - job.wall.seconds)
        embedding = job.pictures.each * trial.pictures + job.words.each * trial.texts
        found = Cost(embedding + rest * trial.larger, job.pictures.each)
    return found
