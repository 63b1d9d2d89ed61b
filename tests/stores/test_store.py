from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from tiny_teacher import PLAN

from clipdistill.errors import UserError
from clipdistill.stores import TeacherStore
from clipdistill.stores.regions import RegionStore

SHARD = "shard-00000-of-00001"


@pytest.fixture
def store(write, teacher, mixture) -> TeacherStore:
    return write(teacher, mixture)


def test_missing_ids_are_minus_one(store) -> None:
    assert store.rows(["pictures/002", "nobody", "pictures/000"]).tolist() == [2, -1, 0]
    assert store.rows(store.ids).tolist() == list(range(21))
    with pytest.raises(UserError, match=r"row -1\.\.2 asked of 21 samples"):
        store.image([2, -1], [0, 0])


def test_views_and_captions_that_are_not_there(store) -> None:
    with pytest.raises(UserError, match="view 3 asked of a store with 3"):
        store.image([0, 1], [0, 3])
    with pytest.raises(UserError, match="view -1"):
        store.image([0], [-1])
    with pytest.raises(UserError, match="caption 1 asked of pictures/003, which has 1"):
        store.text([1, 3], [1, 1])
    with pytest.raises(UserError, match="caption -1 asked"):
        store.text([1], [-1])
    assert store.image([], []).shape == (0, 16)


def test_check_names_what_differs(store) -> None:
    store.check(teacher_fingerprint="weights-0", plan_fingerprint=PLAN.fingerprint(), ids=store.ids[3:5])
    store.check()
    with pytest.raises(UserError, match="the teacher .*the store has weights-0, now it is weights-1"):
        store.check(teacher_fingerprint="weights-1")
    with pytest.raises(UserError, match="the teacher .*; the augmentation plan") as error:
        store.check(teacher_fingerprint="weights-1", plan_fingerprint="0123")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"2 samples aren't in this store \(first: x/1\)"):
        store.check(ids=["pictures/001", "x/1", "x/2"])


def test_meta_says_what_it_is(store) -> None:
    assert store.meta["teacher"] == "tiny" and store.meta["embed_dim"] == 16 and store.views == 3
    assert store.logit_scale == 100.0 and store.logit_bias is None
    assert store.meta["plan"]["crop_scale"] == [0.5, 1.0] and store.meta["tokenizer_key"] == "letters"


def test_truncated_file_is_found_by_verify_and_by_open(store) -> None:
    path = store.path / SHARD / "text.f16"
    with open(path, "r+b") as handle:
        handle.truncate(path.stat().st_size - 2)
    for look in (store.verify, lambda: TeacherStore.open(store.path)):
        with pytest.raises(UserError, match=r"text\.f16: 1,\d+ bytes long, not 1,\d+; the store is damaged"):
            look()
    path.unlink()
    with pytest.raises(UserError, match=r"text\.f16: missing"):
        TeacherStore.open(store.path)


@pytest.mark.parametrize("name", ["image.f16", "text.f16"])
def test_one_changed_byte_is_found(store, name: str) -> None:
    store.verify()
    with open(store.path / SHARD / name, "r+b") as handle:
        handle.seek(700)
        byte = handle.read(1)
        handle.seek(700)
        handle.write(bytes([byte[0] ^ 1]))
    with pytest.raises(UserError, match=rf"{name}: rows .* are damaged"):
        TeacherStore.open(store.path).verify()


def test_a_block_missing_from_the_log_is_found(store) -> None:
    log = store.path / SHARD / "blocks.jsonl"
    log.write_text("".join(log.read_text().splitlines(True)[:-1]))
    for look in (store.verify, lambda: TeacherStore.open(store.path)):
        with pytest.raises(UserError, match="blocks.jsonl: damaged or missing; delete it and run"):
            look()


def test_what_is_no_store_is_refused(store, tmp_path) -> None:
    with pytest.raises(UserError, match="there is no teacher store; write one"):
        TeacherStore.open(tmp_path / "nowhere")
    meta = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps({**meta, "version": 99}))
    with pytest.raises(UserError, match="format 99"):
        TeacherStore.open(store.path)
    (store.path / "store.json").write_text(json.dumps({**meta, "version": 1}))
    with pytest.raises(UserError, match="format 1, this version reads 2; delete it and run `clipdistill cache` again"):
        TeacherStore.open(store.path)
    (store.path / "store.json").write_text("{")
    with pytest.raises(UserError, match="not a store's file"):
        TeacherStore.open(store.path)
    (store.path / "store.json").write_text(json.dumps(meta))
    (store.path / SHARD / "shard.json").unlink()
    with pytest.raises(UserError, match="missing or unfinished"):
        TeacherStore.open(store.path)


def test_a_store_of_another_kind_or_of_an_older_version_is_refused(store, write, teacher, mixture, tmp_path) -> None:
    with pytest.raises(UserError, match="holds targets, and isn't a region store; choose another folder"):
        RegionStore.open(store.path)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "begun.json").write_text("{}")  # as regions were begun once
    with pytest.raises(UserError, match="older version; delete it and run `clipdistill cache` again"):
        write(teacher, mixture, folder="begun")
    shard = tmp_path / "begun" / SHARD / "shard.json"
    (tmp_path / "begun" / "begun.json").unlink()
    shard.parent.mkdir()
    shard.write_text('{"version": 1, "finished": false}')
    with pytest.raises(UserError, match="the store's format: the store has 1, now it is 2.*delete this one"):
        write(teacher, mixture, folder="begun")


def test_a_pickle_holds_the_path_and_not_the_numbers(store) -> None:
    assert len(pickle.dumps(store)) < 500
    other = pickle.loads(pickle.dumps(store))
    assert np.array_equal(other.image([3], [1]), store.image([3], [1]))


def _sum(store: TeacherStore, row: int) -> float:
    return float(np.abs(store.image([row], [0])).sum() + np.abs(store.text([row], [0])).sum())


def test_many_readers_see_the_same(store) -> None:
    expected = [_sum(store, row) for row in range(21)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda row: _sum(store, row), list(range(21)) * 20)) == expected * 20
    with get_context("fork").Pool(2) as pool:
        assert pool.starmap(_sum, [(store, row) for row in range(21)]) == expected


def test_facts_that_are_not_those_that_were_written_are_refused(store) -> None:
    """A logit scale or a number of views has no other digest: a wrong one would be a silently wrong teacher."""
    for file in (store.path / "store.json", store.path / SHARD / "shard.json"):
        whole = file.read_text()
        meta = json.loads(whole)
        for spoilt in ({**meta, "shards": 3}, {k: v for k, v in meta.items() if k not in ("arrays", "bad", "digest")}):
            if file.name == "store.json" or "arrays" not in spoilt:
                file.write_text(json.dumps(spoilt))
                with pytest.raises(UserError, match=rf"{file.name}: isn't what was written .*; delete it and run"):
                    TeacherStore.open(store.path)
        file.write_text(whole)
    meta = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps({**meta, "logit_scale": 99.0}))
    with pytest.raises(UserError, match=r"store.json: isn't what was written \(.* was its digest\)"):
        TeacherStore.open(store.path)
    del meta["digest"]  # of a store that was written earlier
    (store.path / "store.json").write_text(json.dumps(meta))
    assert len(TeacherStore.open(store.path)) == len(store)
