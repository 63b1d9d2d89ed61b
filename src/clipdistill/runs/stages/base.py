"""What every stage of a run is: it can be checked, forecast, run, and known to be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Forecast:
    """What a stage will cost: seconds, the most memory of a process, and room on the disk, in bytes.

    what: the stage in the plan's words, such as "the teacher's store".
    """

    what: str
    seconds: float = 0.0
    memory_bytes: float = 0.0
    disk_bytes: float = 0.0


class Stage:
    """One step of a run. A chain checks all of its stages, sums their forecasts, and runs those that aren't done."""

    MAIN_ONLY: ClassVar[bool] = False
    """Whether the first process alone has something to do."""

    SHARED: ClassVar[bool] = False
    """Whether what it makes lies outside the run, for others too: such stages come before the run is begun."""

    @property
    def place(self) -> str:
        """Where what it makes lies outside the run: runs with the same place make it once. Empty = in the run."""
        return ""

    @property
    def label(self) -> str:
        """What it is called where stages are listed."""
        return type(self).__name__.lower()

    def check(self) -> None:
        """Find out what can go wrong before long work starts; UserError names the field."""

    def done(self) -> bool:
        """Whether what the stage makes is there."""
        return False

    def forecast(self) -> Forecast | None:
        """The cost of what is still to do; None where it isn't worth a line."""
        return None

    def run(self) -> None:
        """Do it, from where a stopped run left it."""
        raise TypeError(f"{type(self).__name__} must define run")

    def hand_on(self) -> None:
        """Called once the stage is done, now or long ago: give later stages what it made."""
