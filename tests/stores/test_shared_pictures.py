"""Region stores of questions: each picture once, whatever is asked about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipdistill.stores.region_cache as region_cache
from clipdistill.data import Mixture, open_source
from clipdistill.data.fields import Regions
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.regions import open_provider
from clipdistill.runs.data import Data
from clipdistill.stores.region_cache import cache_regions
from clipdistill.stores.regions import RegionStore
from tests.evaluate import question_data as made

ASKED = ["red", "green", "red", "blue", "red"]


@pytest.fixture(scope="module")
def model() -> Any:
    return create_model("petri-tiny-student", seed=0).eval()


def questions(folder: Path, pictures: list[str], name: str = "val.jsonl") -> Mixture:
    made.write_vcr(folder, [made.vcr_item(k, picture, 0, 0) for k, picture in enumerate(pictures)], name)
    return Mixture([(open_source({"format": "vcr", "path": str(folder / name)}), None)])


def test_a_picture_of_many_questions_is_embedded_once(model: Any, tmp_path: Path) -> None:
    mixture = questions(tmp_path / "vcr", ASKED)
    seen, encode = [], model.encode_image
    model.encode_image = lambda pixels: seen.append(len(pixels)) or encode(pixels)
    try:
        store = cache_regions(model, mixture, None, tmp_path / "store")
    finally:
        del model.encode_image
    assert store is not None and store.ids == ["red.jpg", "green.jpg", "blue.jpg"] and sum(seen) == 3
    mixture.regions = store
    field = Regions(mixture)
    assert field.rows.tolist() == [0, 1, 0, 2, 0]
    batch = field.collate(field.rows.tolist())
    assert np.array_equal(batch["regions"][0], batch["regions"][2]) and batch["regions"].shape[0] == 5
    assert not np.array_equal(batch["regions"][0], batch["regions"][1])


def test_fewer_and_other_questions_find_their_pictures_in_it(model: Any, tmp_path: Path) -> None:
    store = cache_regions(model, questions(tmp_path / "vcr", ASKED), None, tmp_path / "store")
    fewer = questions(tmp_path / "vcr", ["blue", "red"], "low_shot.jsonl")
    again = cache_regions(model, fewer, None, tmp_path / "store")
    assert store is not None and again is not None and again.ids == store.ids
    assert again.rows(fewer.picture_ids).tolist() == [2, 0]
    cache_regions(model, fewer, None, tmp_path / "small")
    with pytest.raises(UserError, match=r"small: has no regions of green.jpg \(1 are missing\); choose another folder"):
        cache_regions(model, questions(tmp_path / "vcr", ASKED), None, tmp_path / "small")
    with pytest.raises(UserError, match="max_regions: the store has 10, now it is 3"):
        cache_regions(model, fewer, None, tmp_path / "store", max_regions=3)


def test_other_pictures_of_the_same_names_are_refused(model: Any, tmp_path: Path) -> None:
    mixture = questions(tmp_path / "vcr", ASKED)
    cache_regions(model, mixture, None, tmp_path / "store")
    metadata = tmp_path / "vcr" / "vcr1images" / "one.json"
    content = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**content, "boxes": [[0, 0, 12, 12, 1.0]]}))
    source = open_source({"format": "vcr", "path": str(tmp_path / "vcr" / "val.jsonl")})
    with pytest.raises(UserError, match="was made of another picture red.jpg, or of other boxes for it"):
        cache_regions(model, Mixture([(source, None)]), None, tmp_path / "store")


def test_a_store_by_question_says_what_to_do(model: Any, tmp_path: Path) -> None:
    mixture = questions(tmp_path / "vcr", ASKED)
    mixture.picture_ids = mixture.ids  # as it was
    cache_regions(model, mixture, None, tmp_path / "store")
    now = questions(tmp_path / "vcr", ASKED)
    with pytest.raises(UserError, match="what a row is of: the store has None, now it is pictures; choose another"):
        cache_regions(model, now, None, tmp_path / "store")


def test_a_torn_picture_takes_its_questions_with_it(model: Any, tmp_path: Path) -> None:
    mixture = questions(tmp_path / "vcr", [*ASKED, "broken", "broken"])
    store = cache_regions(model, mixture, open_provider({"provider": "whole"}), tmp_path / "store", max_bad_share=0.5)
    assert store is not None and list(store.bad) == ["broken.jpg"]
    data = Data(mixture, mixture)
    data.leave_out(data.mixture.showing(store.bad))
    assert len(data.kept) == 5 and list(data.bad) == ["vcr_val/val-5", "vcr_val/val-6"]
    data.give_regions(store)
    assert Regions(data.kept).rows.tolist() == [0, 1, 0, 2, 0]
    assert cache_regions(model, mixture, open_provider({"provider": "whole"}), tmp_path / "store") is not None


def test_ranks_and_a_kill_leave_the_same_rows(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_cache, "BLOCK", 1)
    mixture = questions(tmp_path / "vcr", ASKED)
    whole = cache_regions(model, mixture, None, tmp_path / "whole")

    stamp, calls = region_cache.stamp, []

    def dying(sample: Any) -> str:
        calls.append(sample.id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return stamp(sample)

    with monkeypatch.context() as patch:
        patch.setattr(region_cache, "stamp", dying)
        with pytest.raises(KeyboardInterrupt):
            cache_regions(model, mixture, None, tmp_path / "halved")
    cache_regions(model, mixture, None, tmp_path / "halved")
    shard = "shard-00000-of-00001"
    for file in ("store.json", f"{shard}/features.f16", f"{shard}/blocks.jsonl", f"{shard}/ids.json"):
        assert (tmp_path / "halved" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    for rank in (0, 1):
        cache_regions(model, mixture, None, tmp_path / "parts", rank=rank, world_size=2)
    parts = RegionStore.open(tmp_path / "parts")
    assert whole is not None and parts.ids == whole.ids
    assert [parts.stamp(row) for row in range(3)] == [whole.stamp(row) for row in range(3)]
    assert np.array_equal(parts.lookup([0, 1, 2], 2)["features"], whole.lookup([0, 1, 2], 2)["features"])
