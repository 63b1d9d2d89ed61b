"""Kills: a run is killed at a file-system event or at a random time, taken up by the same command, and compared."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign import forked, watched
from tests.campaign.remains import differences, remains
from tests.campaign.small_runs import RUNS, Base, Commands

LINES = ("metrics.jsonl", "blocks.jsonl", "bad_samples.jsonl")
"""Files that grow by lines, the last of which a power cut may tear until it is on the disk."""


@dataclass
class Undisturbed:
    """A run that nothing happened to: its commands, what it left, its events, how long it took."""

    name: str
    base: Base
    out: Path
    left: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of(cls, name: str, base: Base) -> Undisturbed:
        """Run it once, and import here what that imported. Every try of it has the same folder."""
        out = base.folder.parent / "out" / name.replace(", ", "-")
        found = cls(name, base, out)
        notes = out.with_name(out.name + ".events")
        commands = found.begin()
        ended = forked.warm(commands, out, before=lambda: watched.watch(str(out), watched.noted(str(notes))))
        assert ended.code == 0, f"{name}: {ended.said[-2000:]}"
        found.left, found.seconds = remains(out), ended.seconds
        found.sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
        found.events = [line.replace(f"{out}/", "") for line in notes.read_text().splitlines()]
        return found

    def begin(self) -> Commands:
        """Empty the folder and return the commands."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        return RUNS[self.name](self.base, self.out)

    def compare(self, commands: Commands) -> list[str]:
        """Give the commands again, to the end; what is wrong about that and about what is left."""
        ended = forked.run(commands, self.out)
        if ended.hung:
            return [f"hangs: {ended.said[-500:]}"]
        if ended.code:
            return [f"code {ended.code}: {ended.said[-1500:]}"]
        return differences(self.left, remains(self.out))


@dataclass
class Tally:
    """How often a run was killed, and what went wrong: how it was killed -> what."""

    events: int = 0
    kills: int = 0
    torn: int = 0
    failed: dict[str, list[str]] = field(default_factory=dict)


def at_events(calm: Undisturbed, chosen: Iterator[int] | range, tally: Tally, say: Callable[[str], None]) -> None:
    """Kill at each of the events, in a run of its own: lines that aren't safe yet are torn, each fifth dies twice."""
    tally.events = len(calm.events)
    for number in chosen:
        how = f"event {number} ({calm.events[number - 1]})"
        commands = calm.begin()
        ended = forked.run(commands, calm.out, before=lambda n=number: _kill_at(calm, n))  # type: ignore[misc]
        if ended.code != -9:
            _note(calm, tally, how, [f"not killed: code {ended.code}: {ended.said[-300:]}"], say)
            continue
        tally.kills += 1
        if _tear(calm.out, calm.events[number - 1]):
            tally.torn += 1
            how += ", torn"
        if number % 5 == 0:
            again = 1 + number * 7 % len(calm.events)
            how += f", then event {again}"
            tally.kills += forked.run(commands, calm.out, before=lambda n=again: _kill_at(calm, n)).code == -9  # type: ignore[misc]
        _note(calm, tally, how, calm.compare(commands), say)


def at_times(calm: Undisturbed, count: int, tally: Tally, say: Callable[[str], None], seed: int = 0) -> None:
    """Kill after random times, up to three times a run."""
    drawn = random.Random(f"{seed} {calm.name}")
    for number in range(count):
        commands = calm.begin()
        times = [drawn.uniform(0.02, calm.seconds) for _ in range(drawn.choice((1, 1, 2, 3)))]
        for one in times:
            tally.kills += forked.run(commands, calm.out, kill_after=one).code == -9
        how = f"time {number} ({', '.join(f'{one:.3f} s' for one in times)})"
        _note(calm, tally, how, calm.compare(commands), say)


def spread(events: int, wanted: int, offset: int = 0) -> range:
    """About `wanted` of the events 1, 2, ..., evenly; all of them when there are no more."""
    step = max(1, -(-events // max(wanted, 1)))
    return range(1 + offset % step, events + 1, step)


def _kill_at(calm: Undisturbed, number: int) -> None:
    watched.watch(str(calm.out), watched.killed_at(number))


def _tear(folder: Path, event: str) -> bool:
    """Cut the last line of a file of lines in half, if it was about to be made safe."""
    what, _, name = event.partition("\t")
    path = folder / name
    if what != "fsync" or path.name not in LINES:
        return False
    content = path.read_bytes()
    start = content[:-1].rfind(b"\n") + 1
    path.write_bytes(content[: start + (len(content) - start) // 2])
    return True


def _note(calm: Undisturbed, tally: Tally, how: str, wrong: list[str], say: Callable[[str], None]) -> None:
    if wrong:
        tally.failed[how] = wrong
        say(f"{calm.name}: {how}: {wrong}")
