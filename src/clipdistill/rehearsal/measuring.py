"""What each stage of a rehearsal takes: seconds, memory and disk; and the stop after the first step."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from clipdistill.engine.throughput import peak_memory
from clipdistill.errors import Interrupted, UserError
from clipdistill.rehearsal.facts import Facts, facts_of
from clipdistill.rehearsal.places import size_of
from clipdistill.runs.chain import Chain
from clipdistill.runs.stages import Fit, Stage
from clipdistill.runs.stages.base import Forecast
from clipdistill.runs.training import Watcher

OPENING, PLAN = "opening", "forecast"


@dataclass
class Measured:
    """Seconds, the most bytes of memory, and bytes on the disk.

    forecast: of the first plan. facts: what the stage works through; None = it is no stage. resumed: whether a training
    was stopped and went on from there.
    """

    seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    forecast: Forecast | None = None
    facts: Facts | None = None
    resumed: bool = False


class Stopped(Interrupted):
    """Raised after a training's first step."""


class Measuring(Watcher):
    """Measures the stages of a run that lies below `folder`, and stops each training but the control after one step.

    Attributes:
        found: label -> what was measured, in order; over all tries. now: the label of what is being done.
        fits: labels of the student's trainings and its control, in order. resident: bytes held once models are open.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.device = folder, device
        self.found: dict[str, Measured] = {}
        self.now = OPENING
        self.fits: list[str] = []
        self.resident = 0
        self._stopped: set[str] = set()
        self._mark()

    def opened(self, chain: Chain) -> None:
        """Models and data are open."""
        self._note(OPENING)
        self.fits, self.now = [fit.label for fit in chain.fits], PLAN
        self.resident = resident(self.device)
        for stage in chain.stages:
            self.found.setdefault(stage.label, Measured())

    def planned(self, costs: Sequence[tuple[Stage, Forecast]]) -> None:
        """Keep the forecasts of a run of which nothing is done."""
        self._note(PLAN)
        for stage, cost in costs:
            one = self.found.setdefault(stage.label, Measured())
            if one.forecast is None:
                one.forecast, one.facts = cost, facts_of(stage)

    @contextmanager
    def around(self, stage: Stage) -> Iterator[None]:
        """Measure what a stage does; a training is stopped once, and its next try must go on from there."""
        self.now = stage.label
        if isinstance(stage, Fit) and stage.label != "control":
            stage.on_step = self._after
        self._mark()
        try:
            yield
        finally:
            self._note(self.now)
            one = self.found[self.now]
            one.facts = one.facts or facts_of(stage)

    def again(self) -> None:
        """The next try begins, without the models of the last one."""
        gc.collect()
        self.now = OPENING
        self._mark()

    def note(self) -> None:
        """Count what was done since the last note to what is being done."""
        self._note(self.now)

    def _after(self, step: int) -> None:
        if self.now not in self._stopped:
            self._stopped.add(self.now)
            raise Stopped(f"stopped after step {step}, to be resumed")
        if step == 1:
            raise UserError("it was stopped after step 1 and didn't go on from there, but from the beginning")
        self.found[self.now].resumed = True

    def _mark(self) -> None:
        fresh_peak(self.device)
        self._began, self._size = time.perf_counter(), size_of(self.folder)

    def _note(self, label: str) -> None:
        one = self.found.setdefault(label, Measured())
        one.seconds += time.perf_counter() - self._began
        one.memory = max(one.memory, peak_memory(self.device))
        one.disk += max(0, size_of(self.folder) - self._size)
        self._mark()


def fresh_peak(device: torch.device) -> None:
    """Begin to measure the peak of memory anew, where the system can: on GPUs, and of a process on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident(device: torch.device) -> int:
    """Bytes that are held now."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    import psutil

    return int(psutil.Process().memory_info().rss)
