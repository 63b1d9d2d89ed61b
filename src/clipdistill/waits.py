"""How long this package waits for anything that may never come: other processes, disks, servers.

Each limit is generous, can be set in the environment, and ends in a sentence. They are facts of a machine and not of a
recipe, so that a run that waited too long goes on with the recipe that it has.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from clipdistill.errors import UserError

LIMITS = {
    "LOCK": (24 * 3600.0, "for another process that writes the same store or world, or runs into the same folder"),
    "RANKS": (1800.0, "for the other processes of one training, at each exchange"),
    "BATCH": (1800.0, "for the next batch of the processes that make them"),
    "NETWORK": (60.0, "for the next bytes of a download, and for an answer of Slurm"),
    "STUDY": (7 * 24 * 3600.0, "for one of a study's runs to end, with Ray or Slurm"),
}
"""What is waited for: seconds, and in words."""


def variable(what: str) -> str:
    """The environment's variable that sets a limit."""
    return f"CLIPDISTILL_WAIT_{what}"


def limit(what: str) -> float:
    """Seconds that one of `LIMITS` may be waited for.

    Raises:
        UserError: the variable isn't a positive number.
    """
    given = os.environ.get(variable(what))
    if not given:
        return LIMITS[what][0]
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise UserError(f"{variable(what)}={given}: write seconds, such as {LIMITS[what][0]:g}")
    return seconds


def too_long(what: str) -> str:
    """`3600 seconds (CLIPDISTILL_WAIT_LOCK)`, for the sentence that ends a wait."""
    return f"{limit(what):g} seconds ({variable(what)} sets how many)"


def polls(what: str, first: float = 0.02, most: float = 1.0) -> Iterator[None]:
    """Yield, with growing pauses, until the limit is reached."""
    until, pause = time.monotonic() + limit(what), first
    while True:
        yield
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(2 * pause, most)


@contextmanager
def network_limit() -> Iterator[None]:
    """Let no socket that is opened in the block, by whichever library, wait without end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(limit("NETWORK"))
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
