"""Arrays by sample, view, caption and field value, ragged or not: written by blocks, and read back slot by slot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipdistill.errors import UserError
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.facts import VERSION
from clipdistill.stores.shards import join
from clipdistill.stores.store import Store
from clipdistill.stores.writer import ShardWriter

SAMPLES, CHOICES = 11, [0, 3, 1, 4, 2, 0, 0, 2, 1, 3, 5]  # choices of a question, sample by sample
ARRAYS = [
    ArraySpec("pool", 2, "sample", "float32"),
    ArraySpec("view", 1, "view", "float32"),
    ArraySpec("choice", 2, "field", "float32", field="choices"),
    ArraySpec("word", 1, "field", "float32", field="choices", ragged=True),
    ArraySpec("region", 3, "sample", "float32", ragged=True),
    ArraySpec("patch", 1, "view", "float32", ragged=True),
]


def facts(world_size: int = 1) -> dict[str, Any]:
    return {
        "version": VERSION,
        "kind": "any",
        "teacher": "any",
        "samples": SAMPLES,
        "world_size": world_size,
        "views": 2,
    }


def words(sample: int, choice: int) -> np.ndarray:
    """A word score for each word of a choice: sample.choice, again and again; some choices have no word."""
    return np.full((((sample + choice) % 3), 1), sample + choice / 10, np.float32)


def regions(sample: int) -> np.ndarray:
    return np.arange(3 * (sample % 4), dtype=np.float32).reshape(-1, 3) + sample


def patches(sample: int, view: int) -> np.ndarray:
    return np.full((sample % 2 + view, 1), 10 * sample + view, np.float32)


def put(shard: ShardWriter, block: int, bad: bool = False) -> None:
    samples = [shard.start + row for row in shard.blocks[block]]
    choices = [(s, c) for s in samples for c in range(CHOICES[s])]
    found = [regions(s)[:1] if bad else regions(s) for s in samples]
    spoken = [words(s, c) for s, c in choices]
    shard.write(
        block,
        {
            "pool": np.array([[s, -s] for s in samples], np.float32),
            "choice": np.array(choices, np.float32).reshape(-1, 2),
            "word": np.concatenate([np.zeros((0, 1), np.float32), *spoken]),
            "region": np.concatenate(found),
        },
        counts={"word": [len(own) for own in spoken], "region": [len(own) for own in found]},
        notes={"names": [f"{s}" for s in samples]},
        bad=[{"id": f"s{samples[0]}", "reason": "torn"}] if bad else [],
    )
    for view in range(2):
        own = [patches(s, view) for s in samples]
        values = {"view": np.array([[s + view / 10] for s in samples], np.float32), "patch": np.concatenate(own)}
        shard.write(block, values, view=view, counts={"patch": [len(each) for each in own]})


def writer(path: Path, rank: int = 0, world_size: int = 1) -> ShardWriter:
    slots = {"field choices": lambda position: CHOICES[position]}
    ids = [f"s{k}" for k in range(SAMPLES)]
    return ShardWriter(path, facts(world_size), ids, ARRAYS, slots=slots, rank=rank, block_rows=4)


def write(path: Path, world_size: int = 1) -> Store:
    for rank in range(world_size):
        with writer(path, rank, world_size) as shard:
            for block in range(len(shard.blocks)):
                put(shard, block)
            shard.finish()
    assert join(path, world_size)
    return Store.open(path)


def check(store: Store) -> None:
    rows = np.array([10, 0, 3, 7, 3])
    assert store.take("pool", rows).tolist() == [[s, -s] for s in rows]
    assert np.allclose(store.take("view", rows, views=[1, 0, 1, 0, 0])[:, 0], [10.1, 0, 3.1, 7, 3])
    assert store.slots("choice", rows).tolist() == [5, 0, 4, 2, 4]
    assert store.take("choice", [10, 3, 7], [4, 0, 1]).tolist() == [[10, 4], [3, 0], [7, 1]]
    for sample in range(SAMPLES):
        ((values,), (mask,)) = store.padded("region", [sample], 3)
        assert mask.sum() == sample % 4 and np.array_equal(values[mask], regions(sample)) and not values[~mask].any()
        for view in range(2):
            ((values,), (mask,)) = store.padded("patch", [sample], 3, views=view)
            assert np.array_equal(values[mask], patches(sample, view))
        for choice in range(CHOICES[sample]):
            ((values,), (mask,)) = store.padded("word", [sample], 2, choice)
            assert np.array_equal(values[mask], words(sample, choice))
    store.verify()


@pytest.mark.parametrize("world_size", [1, 2, 3, 20])
def test_what_was_written_of_each_slot_is_what_is_read(tmp_path: Path, world_size: int) -> None:
    check(write(tmp_path / "store", world_size))


def test_a_torn_block_is_written_where_it_would_have_been(tmp_path: Path) -> None:
    write(tmp_path / "whole")
    with writer(tmp_path / "store") as shard:
        put(shard, 0)
        put(shard, 1)
    for spec in ARRAYS:  # rows of a third block that the log never heard of
        with open(shard.folder / spec.file, "ab") as handle:
            handle.write(b"\x01" * 5)
    with open(shard.folder / "blocks.jsonl", "a") as log:
        log.write('{"block": 2, "arr')
    with writer(tmp_path / "store") as shard:
        assert [shard.is_done("word", block) for block in range(3)] == [True, True, False]
        put(shard, 2)
        shard.finish()
    join(tmp_path / "store", 1)
    for file in ("store.json", *(f"{shard.folder.name}/{n}" for n in ("blocks.jsonl", *(s.file for s in ARRAYS)))):
        assert (tmp_path / "store" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


def test_a_block_with_bad_samples_is_tried_again_though_it_has_more_rows_now(tmp_path: Path) -> None:
    with writer(tmp_path / "store") as shard:
        for block in range(3):
            put(shard, block, bad=block == 1)
        assert shard.bad == {"s4": "torn"}
    with writer(tmp_path / "store") as shard:
        assert [shard.is_done("region", block) for block in range(3)] == [True, False, True]
        put(shard, 1)
        shard.finish()
    assert join(tmp_path / "store", 1)
    store = Store.open(tmp_path / "store")
    check(store)
    assert store.bad == {}


def test_rows_that_do_not_fit_the_slots_are_a_mistake_of_the_program(tmp_path: Path) -> None:
    with writer(tmp_path / "store") as shard:
        with pytest.raises(ValueError, match="pool: 3 rows, 4 in 4 slots of block 0"):
            shard.write(0, {"pool": np.zeros((3, 2))})
        with pytest.raises(ValueError, match="region: 2 rows, 3 in 4 slots"):
            shard.write(0, {"region": np.zeros((2, 3))}, counts={"region": [0, 1, 1, 1]})
        with pytest.raises(UserError, match="any gives NaN or infinity as region of 's2'"):
            broken = np.array([[1, 1, 1], [1, 1, 1], [1, np.inf, 1]])
            shard.write(0, {"region": broken}, counts={"region": [2, 0, 1, 0]})
        assert not shard.is_done("region", 0)
    with pytest.raises(ValueError, match="`field` named"):
        ArraySpec("choice", 2, "field")


def test_a_changed_note_is_found(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    log = store.path / "shard-00000-of-00001" / "blocks.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["notes"]["names"][0] = "another"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="blocks.jsonl: damaged"):
        Store.open(store.path)
