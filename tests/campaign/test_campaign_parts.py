"""The campaign sees what it looks for: kills land where they should; differences, tracebacks and growth are told."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.files import write_text
from tests.campaign import flat, hostile, watched
from tests.campaign.kills import spread
from tests.campaign.readers import Reader
from tests.campaign.remains import differences, remains


def ended(work: Callable[[], object], tmp_path: Path) -> tuple[int, list[str]]:
    """Exit code of a process that does some work, and the errors' names that it met."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            (tmp_path / "said").write_text(f"{error}")
            os._exit(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, sorted(path.name for path in (tmp_path / "in").iterdir())


def test_every_event_of_a_written_file_is_one_to_die_at(tmp_path: Path) -> None:
    """Folder, open, fsync, rename: before each of them there is no new file; then the folder is made safe."""

    def write(folder: Path, number: int) -> None:
        watched.watch(str(folder), watched.killed_at(number))
        write_text(folder / "a", "x")

    found = {}
    for number in range(1, 7):
        place = tmp_path / str(number)
        (place / "in").mkdir(parents=True)
        found[number] = ended(lambda at=place / "in", n=number: write(at, n), place)  # type: ignore[misc]
    assert [code for code, _ in found.values()] == [-9, -9, -9, -9, -9, 0]
    assert ["a" in names for _, names in found.values()] == [False, False, False, False, True, True]


@pytest.mark.parametrize("lasting", [False, True])
def test_a_fault_is_met_where_it_should_be(tmp_path: Path, lasting: bool) -> None:
    folder = tmp_path / "in"
    folder.mkdir()

    def write() -> None:
        watched.watch(str(folder), watched.failing_at(2, errno.ENOSPC, lasting))
        try:
            write_text(folder / "a", "x")
        except UserError:
            write_text(folder / "a", "y")

    code, names = ended(write, tmp_path)
    assert (code, names) == ((2, []) if lasting else (0, ["a"]))
    assert not lasting or "the disk is full" in (tmp_path / "said").read_text()


def test_remains_tell_all_but_the_clock_apart(tmp_path: Path) -> None:
    def left(loss: float, seconds: float, weight: float, **more: str) -> dict[str, str]:
        folder = tmp_path / f"{loss}{seconds}{weight}{len(more)}"
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(f'{{"step": 1, "loss": {loss}, "seconds": {seconds}}}\n')
        torch.save({"a": torch.tensor([weight])}, folder / "a.pt")
        for name, text in more.items():
            (folder / name).write_text(text)
        return remains(folder)

    calm = left(1.0, 2.0, 3.0)
    assert differences(calm, left(1.0, 9.0, 3.0)) == []
    assert differences(calm, left(1.5, 2.0, 3.0)) == ["differs: metrics.jsonl"]
    assert differences(calm, left(1.0, 2.0, 3.5)) == ["differs: a.pt"]
    assert differences(calm, left(1.0, 2.0, 3.0, b="x")) == ["left over: b"]
    assert differences(left(1.0, 2.0, 4.0, b="x"), left(1.0, 2.0, 5.0)) == ["missing: b", "differs: a.pt"]


def test_a_reader_that_fails_is_told_once_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "a.json").write_text('{"a": [1, 2]}')

    def read(world: Path) -> None:
        if (world / "a.json").read_bytes() != b'{"a": [1, 2]}':
            raise KeyError("a")

    found, said = hostile.Cases(), list[str]()
    hostile.spoil(Reader("one", ("a.json",), read), tmp_path / "world", 20, found, said.append)
    assert found.cases == 20 and found.read + found.refused < 20 and len(found.failed) == len(said) == 1
    assert said[0].startswith("one: a.json: KeyError at test_campaign_parts.py")


def test_a_reader_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "SECONDS", 0.05)
    found = hostile.Cases()
    hostile._judge(Reader("one", (), lambda _: signal.pause()), tmp_path, found, "one: a", print)
    assert [key.partition(" at ")[0] for key in found.failed] == ["one: a: Hangs"]


def test_growth_is_told_and_a_beginning_is_not() -> None:
    level = {**dict.fromkeys(flat.EXACT, 4.0), **dict.fromkeys(flat.MEMORY, 500.0)}
    begun = [{**level, "files": 9.0, "memory_mb": 900.0}] * 2
    assert flat.grown([*begun, *[level] * 18]) == []
    leaking = [{**level, "files": 4.0 + epoch, "memory_mb": 500.0 + 3 * epoch} for epoch in range(20)]
    assert [line.split()[0] for line in flat.grown(leaking)] == ["files", "memory_mb"]


def test_events_are_spread_and_an_offset_takes_the_others() -> None:
    assert list(spread(10, 100)) == list(range(1, 11))
    taken = [number for offset in range(4) for number in spread(10, 3, offset)]
    assert sorted(taken) == list(range(1, 11))
