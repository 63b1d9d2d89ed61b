"""Where a run's numbers go: metrics.jsonl always, TensorBoard and W&B when asked, the terminal meanwhile."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clipdistill.errors import UserError
from clipdistill.files import write_text

NUMBERS = ("step", "seconds")
"""Of a line, what is reckoned with."""


class Metrics:
    """Appends a line to metrics.jsonl and passes it on to the trackers.

    Args:
        folder: the run's folder.
        trackers: names that accelerate knows (`tensorboard`, `wandb`).
        config: the recipe as plain values, for the trackers.
        step: the step that a resumed run starts from; lines after it, of the interrupted try, are dropped.
    """

    def __init__(self, folder: Path, trackers: list[str], config: Mapping[str, Any], step: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(self.path) if line.get("step", 0) <= step] if step else []
        self.seconds_before = kept[-1].get("seconds", 0.0) if kept else 0.0
        self._start = time.perf_counter()
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))  # whole: a kill here loses nothing
        self._trackers = [make_tracker(name, folder, config) for name in trackers]

    def log(self, values: Mapping[str, float | int]) -> None:
        """Write one line; `seconds` of training so far are added."""
        line = {**values, "seconds": round(self.seconds_before + time.perf_counter() - self._start, 3)}
        with open(self.path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
            handle.flush()
            os.fsync(handle.fileno())  # before a checkpoint that counts on it
        for tracker in self._trackers:
            tracker.log({k: v for k, v in line.items() if k != "step"}, step=int(line["step"]))

    def close(self) -> None:
        """Flush and close the trackers."""
        for tracker in self._trackers:
            tracker.finish()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl up to one that was cut off or isn't one of ours; empty when there is no file."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                break
            if not isinstance(found, dict) or not all(isinstance(found.get(key, 0), int | float) for key in NUMBERS):
                break
            lines.append(found)
    return lines


def require_trackers(names: Sequence[str]) -> None:
    """Raise a UserError when the library of a tracker isn't installed."""
    from accelerate.tracking import filter_trackers

    for name in names:
        if not filter_trackers([name], logging_dir="."):
            raise UserError(f"`train.trackers`: {name} is not installed; pip install 'clipdistill[track]'")


def make_tracker(name: str, folder: Path, config: Mapping[str, Any]) -> Any:
    """One of accelerate's trackers.

    Raises:
        UserError: its library isn't installed.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    require_trackers([name])
    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker = kind("clipdistill", logging_dir=str(folder)) if kind.requires_logging_directory else kind("clipdistill")
    if hasattr(tracker, "start"):
        tracker.start()
    tracker.store_init_configuration({"recipe": json.dumps(config)})
    return tracker


class Meter:
    """Progress and time left: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, label: str, total: int, done: int = 0, *, quiet: bool = False, every: float = 10.0) -> None:
        self.label, self.total, self.done = label, max(total, 1), done
        self._first, self._start, self._every, self._last = done, time.perf_counter(), every, time.perf_counter()
        self._quiet = quiet or os.environ.get("CLIPDISTILL_QUIET") == "1"
        self._note = ""
        self._bar: Progress | None = None
        if not self._quiet and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(label, total=self.total, completed=done, note="")

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more are done; `note` is shown beside the bar."""
        self.done += count
        self._note = note or self._note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=self._note)
        elif not self._quiet and (time.perf_counter() - self._last > self._every or self.done >= self.total):
            self._last = time.perf_counter()
            spent = self._last - self._start
            left = spent / max(self.done - self._first, 1) * (self.total - self.done)
            print(
                f"{self.label}: {self.done}/{self.total}, {spent:.0f} s, {left:.0f} s left  {self._note}",
                file=sys.stderr,
                flush=True,
            )

    def reach(self, done: int, total: int) -> None:
        """`done` of `total` are done; for callbacks."""
        self.total = max(total, 1)
        if self._bar is not None:
            self._bar.update(self._task, total=self.total)
        self.advance(done - self.done)

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class LaterMeter:
    """A Meter that begins once it is told how much there is; in a `with`, what it gives takes (what, done, total)."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.meter: Meter | None = None

    def __enter__(self) -> Callable[[str, int, int], None]:
        return self._move

    def _move(self, _what: str, done: int, total: int) -> None:
        if self.meter is None:
            self.meter = Meter(self.label, total)
        self.meter.advance(done - self.meter.done)

    def __exit__(self, *failure: object) -> None:
        if self.meter is not None:
            self.meter.__exit__()
