"""A disk that fails: full, read-only or broken from some event on, or with files that grow to a size and no further.

A run ends with one line and a code that isn't 0, or does without what failed; given again on a sound disk it leaves
what an undisturbed run leaves.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.campaign import forked, watched
from tests.campaign.kills import Undisturbed

FAULTS = ((errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, True), (errno.EIO, True), (errno.ENOSPC, False))
"""Codes, and whether the disk stays so."""
LEAST = 12_000
"""Bytes that a file may always have: what a command says goes into one too."""


@dataclass
class Faults:
    """How many faults there were, how many runs ended by one, and what went wrong."""

    faults: int = 0
    short: int = 0
    ended: int = 0
    failed: dict[str, list[str]] = field(default_factory=dict)


def at_events(calm: Undisturbed, chosen: Iterable[int], found: Faults, say: Callable[[str], None]) -> None:
    """Let the disk fail at each of the events, in turn full, broken, read-only, once or from then on."""
    for number in chosen:
        code, lasting = FAULTS[number % len(FAULTS)]
        name = f"{errno.errorcode[code]}{' from then on' if lasting else ''}"
        how = f"{name} at event {number} ({calm.events[number - 1]})"
        act = watched.failing_at(number, code, lasting)
        found.faults += 1
        _try(calm, lambda act=act: watched.watch(str(calm.out), act), how, found, say)  # type: ignore[misc]


def at_sizes(calm: Undisturbed, count: int, found: Faults, say: Callable[[str], None]) -> None:
    """Let no file grow above a size: a write is cut short there, whoever writes, and the next one fails."""
    sizes = sorted({size for size in calm.sizes if size > LEAST}, reverse=True)[:count]
    for size in sizes:
        limit = max(LEAST, size - size // 3)
        found.short += 1
        _try(
            calm, lambda most=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),  # type: ignore[misc]
            f"no file above {limit} bytes", found, say,
        )  # fmt: skip


def _try(
    calm: Undisturbed, before: Callable[[], None], how: str, found: Faults, say: Callable[[str], None]
) -> None:  # fmt: skip
    commands = calm.begin()
    ended = forked.run(commands, calm.out, before=before)
    wrong = []
    if ended.code:
        found.ended += 1
        if ended.code != 2 or not ended.one_line:
            wrong.append(f"code {ended.code}: {ended.said[-1500:]}")
    wrong += calm.compare(commands)
    if wrong:
        found.failed[how] = wrong
        say(f"{calm.name}: {how}: {wrong}")
