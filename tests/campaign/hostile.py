"""Spoilt files: each reader reads what is left, or says in one line what is wrong. Never a traceback, never a hang."""

from __future__ import annotations

import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clipdistill.errors import UserError
from tests.campaign.mutations import spoilt_file
from tests.campaign.readers import Reader, structure

CPU_SECONDS, SECONDS = 10.0, 120.0
"""After which a case counts as one that hangs: of this process's own work, and of the clock's."""


class Hangs(BaseException):
    """A case took too long."""


@dataclass
class Cases:
    """What became of a reader's cases; each kind of failure once, by where it was raised."""

    cases: int = 0
    read: int = 0
    refused: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def spoil(reader: Reader, world: Path, count: int, found: Cases, say: Callable[[str], None]) -> None:
    """Give a reader `count` spoilt folders, the same ones each time: what is drawn depends on its number alone."""
    each = -(-count // len(reader.files))
    for name in reader.files:
        path = world / name
        valid = path.read_bytes()
        how = structure(name)
        strategy: st.SearchStrategy[bytes] = spoilt_file(valid, *(how or (None, bytes)))

        @settings(
            max_examples=each,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def case(content: bytes) -> None:
            path.write_bytes(content)  # noqa: B023 - called within this turn of the loop
            _judge(reader, world, found, f"{reader.name}: {name}", say)  # noqa: B023

        try:
            case()
        finally:
            path.write_bytes(valid)
        reader.read(world)  # what was spoilt is whole again


def _judge(reader: Reader, world: Path, found: Cases, what: str, say: Callable[[str], None]) -> None:
    found.cases += 1
    try:
        with _limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(world)
        found.read += 1
    except UserError as error:
        found.refused += 1
        if not str(error).strip():  # line ends in it, of the file's own texts, are taken out where it is printed
            _fail(found, f"{what}: says nothing", repr(error), say, world)
    except (Exception, Hangs) as error:
        last = traceback.extract_tb(error.__traceback__)
        own = [one for one in last if "clipdistill" in one.filename and "/tests/" not in one.filename] or last
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        _fail(found, f"{what}: {type(error).__name__} at {place}", str(error)[:300], say, world)


def _fail(found: Cases, key: str, why: str, say: Callable[[str], None], world: Path) -> None:
    if key not in found.failed:
        found.failed[key] = why
        say(f"{key}: {why}")
        kept = world.parent / "failed" / f"{len(list((world.parent / 'failed').glob('*'))):03d}"
        name = key.split(": ")[1]
        kept.mkdir(parents=True)
        if (world / name).is_file():
            shutil.copy(world / name, kept / Path(name).name)


@contextmanager
def _limit() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hangs(f"more than {CPU_SECONDS:g} s of work or {SECONDS:g} s")

    saved = [(number, signal.signal(number, stop)) for number in (signal.SIGVTALRM, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in saved:
            signal.signal(number, handler)


def timed(reader: Reader, world: Path) -> float:
    """Seconds that reading the valid folder takes."""
    began = time.perf_counter()
    reader.read(world)
    return time.perf_counter() - began
