"""A training that says which steps which process made, and stands still at one until it is told to go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipdistill.tasks.clip_kd import ClipKD, ClipKDOptions

CEILING_SECONDS = 900.0
HALT = 4


class HaltingOptions(ClipKDOptions):
    """place: a folder; without one, nothing is special."""

    place: str = ""


class Halting(ClipKD):
    """CLIP-KD whose first process halts in step 4 of its first training; `steps` in its folder has PID STEP a line."""

    METHOD, Options = "halting", HaltingOptions
    made = 0

    def after_step(self) -> None:
        super().after_step()
        self.made += 1
        place = Path(self.settings.place)
        if not self.settings.place:
            return
        place.mkdir(parents=True, exist_ok=True)
        with open(place / "steps", "a") as file:
            file.write(f"{os.getpid()} {self.made}\n")
        if self.made == HALT and not (place / "halted").exists():
            with telling_of_stops(place / "asked_to_stop"):
                (place / "halted").write_text(str(os.getpid()))
                until((place / "go").exists)


@contextmanager
def telling_of_stops(path: Path) -> Iterator[None]:
    """Leave a file once the process was asked to stop: what asks it is another process, which says so beforehand."""
    before = signal.getsignal(signal.SIGINT)

    def heard(number: int, frame: Any) -> None:
        assert callable(before)
        before(number, frame)
        path.touch()

    signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition; the ceiling is there for what would never end, and says nothing about speed."""
    end = time.monotonic() + CEILING_SECONDS
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def pid_in(path: Path) -> int:
    """The process that halted, once it has."""
    until(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


def steps_in(place: Path) -> dict[int, int]:
    """Process -> how many steps it made."""
    found: dict[int, int] = {}
    for line in (place / "steps").read_text().splitlines():
        found[int(line.split()[0])] = int(line.split()[1])
    return found
