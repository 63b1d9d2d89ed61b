"""JSON and parquet as they are when something went wrong: a line that says which file and what, or a sample less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_files import encoded, picture, write_pictures

from clipdistill.data.sources import open_source
from clipdistill.errors import UserError

IMAGES = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
CAPTIONS = [{"image_id": 1, "caption": "one"}, {"image_id": 2, "caption": "two"}]
BOX = {"image_id": 1, "bbox": [0, 0, 5, 6], "category_id": 1}
ODD: list[Any] = [None, 5.5, [], [1], {}, [[1]], True]


def coco(folder: Path, captions: dict[str, Any], boxes: Any = None) -> Any:
    write_pictures(folder, ["a.png", "b.png"])
    (folder / "captions_x.json").write_text(json.dumps(captions))
    spec = {"format": "coco", "path": str(folder / "captions_x.json")}
    if boxes is not None:
        (folder / "boxes.json").write_text(json.dumps(boxes))
        spec["boxes"] = str(folder / "boxes.json")
    return open_source(spec)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_caption_file_of_coco_loses_what_is_broken_and_says_so(odd: Any, tmp_path: Path) -> None:
    good = {"images": IMAGES, "annotations": CAPTIONS}
    for broken in (
        {**good, "images": [odd, *IMAGES]}, {**good, "images": [{"id": odd, "file_name": "a.png"}, *IMAGES]},
        {**good, "annotations": [odd, *CAPTIONS]},
        {**good, "annotations": [{"image_id": odd, "caption": "x"}, *CAPTIONS]},
    ):  # fmt: skip
        source = coco(tmp_path, broken)
        assert [source[i].captions for i in range(len(source))] == [("one",), ("two",)]
        assert len(source.skipped) == 1 and source.skipped[0][0] in ("image 0", "annotation 0")


@pytest.mark.parametrize("box", [
    None, "x", [1], ["a"] * 4, {}, [1, 2, 3, float("nan")], [0, 0, -5, 5], [None] * 4, [0, 0, 1e39, 1],
    [10**400, 0, 1, 1],
])  # fmt: skip
def test_a_box_that_is_none(box: Any, tmp_path: Path) -> None:
    good = {"images": IMAGES, "annotations": CAPTIONS}
    with pytest.raises(UserError, match=r"boxes.json: annotation 1: bbox .* isn't \[x, y, width, height\] in numbers"):
        coco(tmp_path, good, {"images": IMAGES, "annotations": [BOX, {**BOX, "bbox": box}], "categories": []})


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_boxes_of_nothing(odd: Any, tmp_path: Path) -> None:
    good, boxes = (
        {"images": IMAGES, "annotations": CAPTIONS},
        {"images": IMAGES, "annotations": [BOX], "categories": []},
    )
    for broken, said in (
        ({**boxes, "annotations": [{**BOX, "image_id": odd}]}, "annotation 0: image_id is .*, not a number or a name"),
        ({**boxes, "images": [{"id": odd, "file_name": "a.png"}]}, "image 0: id is .*, not a number or a name"),
        ({**boxes, "categories": [{"id": odd, "name": "cat"}]}, "category 0: id is .*, not a number or a name"),
    ):
        with pytest.raises(UserError, match=f"boxes.json: {said}"):
            coco(tmp_path, good, broken)
    if not isinstance(odd, dict):
        for key in ("images", "annotations", "categories"):
            with pytest.raises(UserError, match=rf"boxes.json: {key}\[0\] is .*, not an object"):
                coco(tmp_path, good, {**boxes, key: [odd]})


def test_boxes_that_are_right_are_read(tmp_path: Path) -> None:
    boxes = {
        "images": IMAGES,
        "annotations": [BOX, {**BOX, "category_id": 9}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    source = coco(tmp_path, {"images": IMAGES, "annotations": CAPTIONS}, boxes)
    assert source[0].regions.labels == ("cat", "9") and source[0].regions.boxes.tolist() == [[0, 0, 5, 6]] * 2


@pytest.mark.parametrize("odd", [None, 5, [], "x"], ids=repr)
def test_an_image_of_karpathys_file_that_is_no_object(odd: Any, tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png"])
    good = {"filename": "a.png", "split": "train", "sentences": [{"raw": "x"}], "cocoid": [1]}
    (tmp_path / "dataset_x.json").write_text(json.dumps({"images": [odd, good]}))
    (tmp_path / "boxes.json").write_text(json.dumps([BOX]))
    spec = {"format": "karpathy", "path": str(tmp_path / "dataset_x.json"), "split": "train"}
    source = open_source({**spec, "boxes": str(tmp_path / "boxes.json")})
    assert len(source) == 1 and source.skipped[0][0] == "image 0"  # type: ignore[attr-defined]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_parquet_file_that_is_cut_is_named(share: float, tmp_path: Path) -> None:
    import datasets

    rows = {"image": [encoded(picture(n)) for n in range(4)], "caption": ["x"] * 4}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "a.parquet"))
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"b\.parquet: no whole parquet file .*; fetch it again"):
        open_source({"format": "huggingface", "path": str(tmp_path)})
    datasets.Dataset.from_dict({"image": rows["image"], "text": rows["caption"]}).to_parquet(
        str(tmp_path / "b.parquet")
    )
    with pytest.raises(UserError, match=r"b\.parquet: has the columns image, text, and .*a\.parquet image, caption"):
        open_source({"format": "huggingface", "path": str(tmp_path)})
