"""A store that a disk or a hand has damaged: found when it is opened or looked over, and mended block by block."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_teacher import TinyTeacher

from clipdistill.data import Mixture
from clipdistill.errors import UserError
from clipdistill.stores import TeacherStore
from clipdistill.stores.arrays import RowsFile
from clipdistill.stores.damage import look_over

SHARD = "shard-00000-of-00001"
ROW = 32  # bytes: 16 numbers of two


def flip(path: Path, at: int, count: int = 1) -> None:
    content = bytearray(path.read_bytes())
    for place in range(at, at + count):
        content[place] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture
def store(write: Callable[..., Any], mixture: Mixture) -> Path:
    return Path(write(TinyTeacher(), mixture).path)


@pytest.fixture
def whole(write: Callable[..., Any], mixture: Mixture) -> Path:
    return Path(write(TinyTeacher(), mixture, folder="whole").path)


@pytest.mark.parametrize("name", ["image.f16", "text.f16"])
def test_a_file_of_zeros_or_of_swapped_halves_does_not_open(store: Path, name: str) -> None:
    file = store / SHARD / name
    content = file.read_bytes()
    half = len(content) // 2
    for wrong in (bytes(len(content)), content[half:] + content[:half]):
        file.write_bytes(wrong)
        with pytest.raises(
            UserError, match=rf"{name}: rows 0 to \d+ are damaged; `clipdistill doctor --verify .* --mend"
        ):
            TeacherStore.open(store)


def test_one_flipped_bit_anywhere_is_found_and_only_its_block_is_written_again(
    store: Path, whole: Path, write: Callable[..., Any], mixture: Mixture
) -> None:
    """21 samples in blocks of 8, 3 views: image's fourth block, view 1, samples 0 to 7."""
    flip(store / SHARD / "image.f16", (21 + 3) * ROW + 5)
    TeacherStore.open(store)  # it isn't among the few that opening looks at
    (found,) = look_over(store)
    assert str(found) == f"{store / SHARD / 'image.f16'}: rows 21 to 29 are damaged"
    assert (store / "store.json").is_file() and look_over(store) == [found]  # nothing is changed by looking

    assert look_over(store, mend=True) == [found] and not (store / "store.json").exists()
    with pytest.raises(UserError, match="an unfinished store, 0 of 1 parts complete; run `clipdistill cache` again"):
        TeacherStore.open(store)
    teacher = TinyTeacher()
    mended = write(teacher, mixture)
    mended.verify()
    assert (teacher.images, teacher.texts) == (8, 0)
    for name in ("image.f16", "text.f16", "ids.json"):
        assert (store / SHARD / name).read_bytes() == (whole / SHARD / name).read_bytes()
    assert look_over(store) == []


@pytest.mark.parametrize(("name", "lost"), [("text.f16", "texts"), ("image.f16", "images")])
def test_a_file_that_is_cut_or_gone_is_written_again_from_there(
    store: Path, whole: Path, write: Callable[..., Any], mixture: Mixture, name: str, lost: str
) -> None:
    file = store / SHARD / name
    with open(file, "r+b") as handle:
        handle.truncate(file.stat().st_size - 2)
    assert len(look_over(store, mend=True)) == 1
    write(TinyTeacher(), mixture).verify()
    assert file.read_bytes() == (whole / SHARD / name).read_bytes()

    file.unlink()
    assert len(look_over(store, mend=True)) == {"texts": 3, "images": 9}[lost]
    teacher = TinyTeacher()
    write(teacher, mixture).verify()
    assert file.read_bytes() == (whole / SHARD / name).read_bytes()
    assert getattr(teacher, lost) > 0 and (teacher.images == 0 or teacher.texts == 0)


def test_ids_and_the_log(store: Path, whole: Path, write: Callable[..., Any], mixture: Mixture) -> None:
    ids, log = store / SHARD / "ids.json", store / SHARD / "blocks.jsonl"
    names = json.loads(ids.read_text())
    ids.write_text(json.dumps([names[1], names[0], *names[2:]]))  # as many of them, and JSON
    with pytest.raises(UserError, match=r"ids\.json: damaged or missing; `clipdistill doctor"):
        TeacherStore.open(store)
    assert [str(one) for one in look_over(store, mend=True)] == [f"{ids}: damaged"]
    teacher = TinyTeacher()
    assert write(teacher, mixture).ids == names and teacher.images == teacher.texts == 0

    flip(log, 40)
    assert [str(one) for one in look_over(store, mend=True)] == [f"{log}: damaged"]
    write(TinyTeacher(), mixture).verify()
    assert (store / SHARD / "image.f16").read_bytes() == (whole / SHARD / "image.f16").read_bytes()


def test_ids_that_are_no_json_or_gone(store: Path) -> None:
    (store / SHARD / "ids.json").write_bytes(b"\xff[")
    with pytest.raises(UserError, match=r"ids\.json: damaged or missing"):
        TeacherStore.open(store)
    (store / SHARD / "ids.json").unlink()
    with pytest.raises(UserError, match=r"ids\.json: damaged or missing"):
        TeacherStore.open(store)
    assert len(look_over(store)) == 1


def test_a_store_without_a_digest_of_its_ids_opens(store: Path) -> None:
    """As an earlier version wrote it."""
    path = store / SHARD / "shard.json"
    facts = json.loads(path.read_text())
    del facts["shard"]["ids"]
    path.write_text(json.dumps(facts))
    assert len(TeacherStore.open(store)) == 21 and look_over(store) == []
    (store / SHARD / "ids.json").write_text("[")
    with pytest.raises(UserError, match="ids.json: doesn't fit shard.json"):
        TeacherStore.open(store)


def test_what_the_disk_does_not_give_back_is_found_before_the_store_is_one(
    write: Callable[..., Any], mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RowsFile.write

    def forgetful(self: RowsFile, start: int, values: np.ndarray) -> str:
        said = real(self, start, values)
        if self.spec.name == "text" and start == 0:
            real(self, start, np.zeros_like(values))
        return said

    monkeypatch.setattr(RowsFile, "write", forgetful)
    with pytest.raises(
        UserError, match=r"text\.f16: rows 0 to \d+ are damaged: the disk doesn't give back .*\(1 blocks\)"
    ):
        write(TinyTeacher(), mixture)
    assert not (tmp_path / "store" / "store.json").exists()
    monkeypatch.setattr(RowsFile, "write", real)
    teacher = TinyTeacher()
    write(teacher, mixture).verify()
    assert teacher.images == 0 and 0 < teacher.texts < 42


def test_what_is_no_store_and_what_is_not_finished(tmp_path: Path, write: Callable[..., Any], mixture: Mixture) -> None:
    with pytest.raises(UserError, match="there is no store"):
        look_over(tmp_path)
    teacher = TinyTeacher()
    teacher.fails_at = 9
    with pytest.raises(KeyboardInterrupt):
        write(teacher, mixture)
    assert look_over(tmp_path / "store", mend=True) == []
    write(TinyTeacher(), mixture).verify()
