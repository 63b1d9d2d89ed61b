"""The pictures of samples: one key each, whoever asks about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipdistill.data import Mixture, open_source
from clipdistill.data.pictures import Pictures, picture_keys, stamp
from tests.evaluate import question_data as made


def vcr(folder: Path, pictures: list[str], name: str = "val.jsonl", **options: Any) -> Any:
    made.write_vcr(folder, [made.vcr_item(k, picture, 0, 0) for k, picture in enumerate(pictures)], name)
    return open_source({"format": "vcr", "path": str(folder / name), **options})


def test_questions_share_pictures(tmp_path: Path) -> None:
    mixture = Mixture([(vcr(tmp_path, ["red", "green", "red", "red", "blue"]), None)])
    assert mixture.picture_ids == ["red.jpg", "green.jpg", "red.jpg", "red.jpg", "blue.jpg"]
    pictures = Pictures(mixture)
    assert pictures.shared and pictures.ids == ["red.jpg", "green.jpg", "blue.jpg"] and len(pictures) == 3
    assert [pictures[row].id for row in range(3)] == pictures.ids
    assert pictures[2].image == mixture[4].image
    assert mixture.showing({"red.jpg": "torn"}) == dict.fromkeys(
        ("vcr_val/val-0", "vcr_val/val-2", "vcr_val/val-3"), "torn"
    )
    less = mixture.without({"vcr_val/val-1"})
    assert less.picture_ids == ["red.jpg", "red.jpg", "red.jpg", "blue.jpg"] and mixture.picture_ids[1] == "green.jpg"


def test_the_fingerprint_is_of_the_pictures_alone(tmp_path: Path) -> None:
    asked = Pictures(Mixture([(vcr(tmp_path / "a", ["red", "green", "red"]), None)]))
    changed = Pictures(Mixture([(vcr(tmp_path / "b", ["red", "green"], "other.jsonl"), None)]))
    assert asked.fingerprint() == changed.fingerprint()  # other questions, another folder and name
    fewer = Pictures(Mixture([(vcr(tmp_path / "c", ["red"]), None)]))
    assert asked.fingerprint() != fewer.fingerprint()
    before = stamp(asked[0])
    metadata = tmp_path / "a" / "vcr1images" / "one.json"
    content = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**content, "boxes": [[0, 0, 10, 11, 1.0]]}))
    source = open_source({"format": "vcr", "path": str(tmp_path / "a" / "val.jsonl")})
    other = Pictures(Mixture([(source, None)]))
    assert other.fingerprint() != asked.fingerprint() and stamp(other[0]) != before  # its boxes are others


def test_a_source_without_keys_has_a_picture_a_sample(tmp_path: Path) -> None:
    """Ids, and so stores and runs, are what they were."""
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    (tmp_path / "t.csv").write_text("filepath,caption\n0.png,one\n0.png,two\n")
    mixture = Mixture([(open_source({"format": "csv", "path": str(tmp_path / "t.csv")}), None)])
    pictures = Pictures(mixture)
    assert mixture.picture_ids is mixture.ids and not pictures.shared and pictures.ids == mixture.ids
    assert pictures.fingerprint() == mixture.fingerprint()
    assert mixture.without({mixture.ids[0]}).picture_ids == mixture.ids[1:]


@pytest.mark.parametrize("same", [True, False])
def test_equal_names_of_two_sources_are_one_picture_only_if_their_bytes_are(tmp_path: Path, same: bool) -> None:
    first = vcr(tmp_path / "a", ["red", "green"], name="train.jsonl")
    second = vcr(tmp_path / "b", ["red", "red"], name="val.jsonl")
    if not same:
        file = tmp_path / "b" / "vcr1images" / "red.jpg"
        content = bytearray(file.read_bytes())
        content[-3] ^= 1  # as long, and another picture
        file.write_bytes(bytes(content))
    mixture = Mixture([(first, None), (second, None)])
    lead = "" if same else "vcr_val/"
    assert mixture.picture_ids == ["red.jpg", "green.jpg", f"{lead}red.jpg", f"{lead}red.jpg"]
    assert len(Pictures(mixture)) == (2 if same else 3)


def test_equal_names_in_two_folders_of_one_source(tmp_path: Path) -> None:
    one, two = tmp_path / "train" / "images", tmp_path / "test" / "images"
    assert picture_keys([(one, "0.png"), (one, "0.png"), (two, "0.png"), (two, "1.png")]) == [
        "0.png", "0.png", "test/images/0.png", "1.png",
    ]  # fmt: skip


def test_the_formats_name_their_pictures(tmp_path: Path) -> None:
    made.write_snli_ve(tmp_path / "ve", [("red", "it is red", "entailment"), ("red", "it is blue", "contradiction")])
    source = open_source({"format": "snli_ve", "path": str(tmp_path / "ve"), "split": "dev"})
    assert source.pictures == ["red.jpg", "red.jpg"]
    made.write_vqa(tmp_path / "vqa", [("red", ["red"] * 10), ("red", ["blue"] * 10), ("green", ["green"] * 10)])
    answers = str(tmp_path / "vqa" / "answers.txt")
    source = open_source({"format": "vqa_v2", "path": str(tmp_path / "vqa"), "split": "val", "answers": answers})
    first, second = "COCO_val2014_000000000000.jpg", "COCO_val2014_000000000001.jpg"
    assert source.pictures == [first, first, second]


def test_boxes_that_differ_make_another_picture(tmp_path: Path) -> None:
    items = [made.vcr_item(k, "red", 0, 0) for k in range(3)]
    items[1]["metadata_fn"] = "two.json"
    made.write_vcr(tmp_path, items)
    metadata = {"boxes": [[5, 5, 10, 10, 1.0]], "width": 20, "height": 20, "names": ["person"], "segms": [[]]}
    (tmp_path / "vcr1images" / "two.json").write_text(json.dumps(metadata))
    source = open_source({"format": "vcr", "path": str(tmp_path / "val.jsonl")})
    assert source.pictures == ["red.jpg", "red.jpg#boxes2", "red.jpg"]
