"""Stores that are written in parts: after a kill, by several ranks, by two processes at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_teacher import Pictures, TinyTeacher, live

from clipdistill.data import Mixture
from clipdistill.errors import UserError
from clipdistill.stores import TeacherStore

SHARD = "shard-00000-of-00001"


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.suffix in (".f16", ".f32", ".json", ".jsonl")
    }


@pytest.mark.parametrize("call", [1, 4, 9, 12, 20, 24])
def test_a_killed_run_goes_on_and_leaves_the_same_bytes(write, teacher, mixture, tmp_path, call: int) -> None:
    write(TinyTeacher(), mixture, folder="whole")
    teacher.fails_at = call
    with pytest.raises(KeyboardInterrupt):
        write(teacher, mixture)
    assert not (tmp_path / "store" / "store.json").exists()
    blocks = (tmp_path / "store" / SHARD / "blocks.jsonl").read_text().count("\n")
    teacher.fails_at, before = None, teacher.images + teacher.texts
    write(teacher, mixture).verify()
    assert file_bytes(tmp_path / "store") == file_bytes(tmp_path / "whole")
    again = teacher.images + teacher.texts - before
    # finished blocks of 8 samples aren't encoded again
    assert again <= 21 * 3 + 42 - (blocks - 1) * 8 + 8
    assert call < 12 or again < 21 * 3 + 42


def test_a_torn_log_line_and_torn_block_are_written_again(write, teacher, mixture, tmp_path) -> None:
    write(TinyTeacher(), mixture, folder="whole")
    teacher.fails_at = 20
    with pytest.raises(KeyboardInterrupt):
        write(teacher, mixture)
    log = tmp_path / "store" / SHARD / "blocks.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:30])
    with open(tmp_path / "store" / SHARD / "image.f16", "r+b") as handle:
        start = json.loads(lines[-1])["arrays"]["image"][0]
        handle.seek(start * 32)
        handle.write(b"\xff" * 40)
    write(TinyTeacher(), mixture).verify()
    assert file_bytes(tmp_path / "store") == file_bytes(tmp_path / "whole")


def test_another_batch_size_may_go_on(write, teacher, mixture) -> None:
    teacher.fails_at = 15
    with pytest.raises(KeyboardInterrupt):
        write(teacher, mixture)
    store = write(TinyTeacher(), mixture, batch_size=3)
    store.verify()
    np.testing.assert_allclose(store.image([20], [2])[0], live(TinyTeacher(), mixture, 20, 2), rtol=2**-10, atol=1e-6)


@pytest.mark.parametrize("world_size", [2, 3, 25])
def test_ranks_together_are_one(write, mixture, world_size: int) -> None:
    one = write(TinyTeacher(), mixture, folder="one")
    results = [
        write(TinyTeacher(), mixture, folder="many", rank=rank, world_size=world_size)
        for rank in reversed(range(world_size))
    ]
    assert results[:-1] == [None] * (world_size - 1)  # nothing opens before the last is done
    many = results[-1]
    many.verify()
    assert many.ids == one.ids and len(many._shards) == world_size
    rows = np.array([20, 0, 7, 13, 7, 11])
    views, captions = np.array([0, 1, 2, 2, 1, 0]), np.array([2, 0, 1, 0, 0, 2])
    np.testing.assert_allclose(many.image(rows, views), one.image(rows, views), rtol=2**-10, atol=1e-6)
    np.testing.assert_allclose(many.text(rows, captions), one.text(rows, captions), rtol=2**-10, atol=1e-6)


def test_a_finished_part_is_not_encoded_again_while_others_work(write, teacher) -> None:
    mixture = Mixture([(Pictures(21, bad=(2,)), None)])
    assert write(teacher, mixture, world_size=2, max_bad_share=0.2) is None
    calls = teacher.calls
    assert write(teacher, mixture, world_size=2) is None and teacher.calls == calls
    assert list(write(teacher, mixture, rank=1, world_size=2).bad) == ["pictures/002"]


def test_an_unfinished_store_says_how_far_it_is(write, teacher, mixture, tmp_path) -> None:
    write(teacher, mixture, rank=0, world_size=2)
    with pytest.raises(UserError, match="1 of 2 parts complete; run `clipdistill cache` again"):
        TeacherStore.open(tmp_path / "store")
    with pytest.raises(UserError, match="unfinished store of 2 processes, and this run has 1"):
        write(teacher, mixture)


def test_too_many_bad_samples_stop_and_mended_ones_are_tried_again(write, teacher) -> None:
    with pytest.raises(UserError, match=r"3 of 21 pictures can't be read.*max_bad_share = 0.01.*pictures/002"):
        write(teacher, Mixture([(Pictures(21, bad=(1, 2, 3)), None)]))
    store = write(TinyTeacher(), Mixture([(Pictures(21), None)]))
    assert store.bad == {}
    np.testing.assert_allclose(
        store.image([2], [0])[0], live(TinyTeacher(), Mixture([(Pictures(21), None)]), 2, 0), rtol=2**-10, atol=1e-6
    )


WRITES = """
import sys
sys.path.insert(0, sys.argv[2])
from tiny_teacher import PLAN, Pictures, TinyTeacher
from clipdistill.data import Mixture
from clipdistill.stores import cache_teacher
teacher = TinyTeacher().eval()
cache_teacher(teacher, Mixture([(Pictures(21), None)]), PLAN, sys.argv[1], batch_size=4, fingerprint="weights-0")
print(teacher.calls)
"""


def test_a_second_process_waits_for_the_first_and_finds_its_work_done(write, mixture, tmp_path) -> None:
    second: list[subprocess.Popen[str]] = []

    class Watched(TinyTeacher):
        def encode_text(self, tokens: Any) -> Any:
            if (
                not second
            ):  # the first is at work: the second begins, and has said that it waits before the first goes on
                script = [sys.executable, "-c", WRITES, str(tmp_path / "store"), str(Path(__file__).parent)]
                second.append(subprocess.Popen(script, stdout=subprocess.PIPE, text=True))
                said = second[0].stdout.readline()  # type: ignore[union-attr]
                assert said == f"{tmp_path / 'store'}: another process is writing this store; waiting for it\n"
            return super().encode_text(tokens)

    store = write(Watched(), mixture)
    assert second[0].communicate()[0] == "0\n"  # how often its teacher was asked
    assert second[0].returncode == 0 and len(store) == 21
