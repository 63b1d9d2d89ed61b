"""Writing a world: official formats, reproducible bytes, whole folders only, one-line errors."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipdistill.errors import UserError
from clipdistill.files import write_json
from clipdistill.petri import render, world, world_pictures, world_settings, write_world
from clipdistill.petri.settings import describe, make_settings

SIZES: dict[str, Any] = {"images": 30, "val": 8, "test": 12, "zero_shot": 2, "image_size": 32}
OPTIONS: dict[str, Any] = {"seed": 0, "formats": "karpathy", "skew": "even", "domain": "plain", "held_out": 12}
COUNTS = {"train": 30, "val": 8, "test": 12}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("petri") / "new" / "world"
    write_world(folder, **SIZES)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_same_settings_same_bytes_and_another_seed_other_pictures(made: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "again", **SIZES)
    assert digests(tmp_path / "again") == digests(made)
    write_world(tmp_path / "other", **SIZES, seed=1, formats=["csv"])
    first = "images/000000.png"
    assert digests(tmp_path / "other")[first] != digests(made)[first]


def test_a_larger_world_begins_with_the_smaller_one(made: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "more", **{**SIZES, "images": 45}, formats=["csv"])
    small, large = digests(made), digests(tmp_path / "more")
    for number in range(30):
        assert small[f"images/{number:06d}.png"] == large[f"images/{number:06d}.png"]
    for k in range(20):  # val and test follow the training pictures, the same in both
        assert small[f"images/{30 + k:06d}.png"] == large[f"images/{45 + k:06d}.png"]
    assert (made / "captions_test.csv").read_text().count("\n") == 61


def test_pictures_are_the_rendered_scenes(made: Path) -> None:
    pictures = list(world_pictures(world_settings(made)))
    drawn = render([picture.scene for picture in pictures], 32)
    for picture, pixels in zip(pictures, drawn, strict=True):
        with Image.open(made / "images" / picture.file_name) as image:
            assert image.mode == "RGB"
            assert torch.equal(torch.from_numpy(np.array(image)).permute(2, 0, 1), pixels)


def test_karpathy_json(made: Path) -> None:
    content = load(made / "dataset_petri.json")
    assert content["dataset"] == "petri" and len(content["images"]) == 50
    ids: list[int] = []
    for image in content["images"]:
        assert (made / image["filepath"] / image["filename"]).is_file()
        assert len(image["sentences"]) == 5 and image["sentids"] == [s["sentid"] for s in image["sentences"]]
        assert all(s["imgid"] == image["imgid"] and "".join(s["tokens"]) for s in image["sentences"])
        assert [s["raw"].replace(",", "").replace(":", "").split() for s in image["sentences"]] == [
            s["tokens"] for s in image["sentences"]
        ]
        ids += image["sentids"]
    assert len(set(ids)) == 250
    splits = [image["split"] for image in content["images"]]
    assert {split: splits.count(split) for split in COUNTS} == COUNTS


@pytest.mark.parametrize("split", list(COUNTS))
def test_coco_files_agree_with_each_other_and_with_karpathy(made: Path, split: str) -> None:
    captions, instances = (load(made / "annotations" / f"{kind}_{split}.json") for kind in ("captions", "instances"))
    karpathy = {i["cocoid"]: i for i in load(made / "dataset_petri.json")["images"] if i["split"] == split}
    assert {image["id"] for image in captions["images"]} == set(karpathy)
    assert captions["images"] == instances["images"]
    for image in captions["images"]:
        assert (image["width"], image["height"]) == (32, 32)
        assert image["file_name"] == karpathy[image["id"]]["filename"]
        told = [a["caption"] for a in captions["annotations"] if a["image_id"] == image["id"]]
        assert told == [s["raw"] for s in karpathy[image["id"]]["sentences"]]
    names = {c["id"]: c["name"] for c in instances["categories"]}
    assert len({a["id"] for a in instances["annotations"]}) == len(instances["annotations"])
    for annotation in instances["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert 0 <= x < x + width <= 32.01 and 0 <= y < y + height <= 32.01
        assert 0.15 * width * height < annotation["area"] < 1.01 * width * height
        assert annotation["category_id"] in names and annotation["iscrowd"] == 0
    detections = load(made / "annotations" / f"detections_{split}.json")
    assert isinstance(detections, list) and detections
    for found in detections:
        assert set(found) == {"image_id", "category_id", "bbox", "score"}
        assert found["image_id"] in karpathy and found["category_id"] in names and 0 < found["score"] < 1


def test_csv_has_one_row_a_caption(made: Path) -> None:
    with open(made / "captions_val.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["filepath", "caption"] and len(rows) == 40
    assert all((made / row["filepath"]).is_file() for row in rows)


def test_shards_have_the_layout_of_img2dataset(made: Path) -> None:
    with tarfile.open(made / "shards" / "train-000000.tar") as tar:
        members = {member.name: member for member in tar.getmembers()}
        assert len(members) == 90
        assert all(m.mtime == 0 and m.uid == 0 and not m.uname for m in members.values())
        assert list(members)[:3] == ["000000000.png", "000000000.txt", "000000000.json"]
        content = {name: tar.extractfile(member).read() for name, member in list(members.items())[:3]}  # type: ignore[union-attr]
    about = json.loads(content["000000000.json"])
    assert content["000000000.txt"].decode() == about["caption"] == about["captions"][0] and len(about["captions"]) == 5
    assert about["sha256"] == hashlib.sha256(content["000000000.png"]).hexdigest()
    assert Image.open(io.BytesIO(content["000000000.png"])).size == (32, 32) == (about["width"], about["height"])
    assert content["000000000.png"] == (made / "images" / "000000.png").read_bytes()


def test_a_new_shard_begins_after_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipdistill.petri.writers.SAMPLES_A_SHARD", 12)
    write_world(tmp_path / "w", **SIZES, formats=["webdataset"])
    names = sorted(path.name for path in (tmp_path / "w" / "shards").iterdir())
    assert names == ["test-000000.tar", *(f"train-00000{k}.tar" for k in range(3)), "val-000000.tar"]


def test_zero_shot_folders(made: Path) -> None:
    seen, unseen = ({p.name for p in (made / "zero_shot" / kind).iterdir()} for kind in ("seen", "unseen"))
    assert len(seen) == 88 and len(unseen) == 12 and not seen & unseen
    assert unseen == set(load(made / "world.json")["options"]["held_out"])
    assert all(len(list(folder.glob("*.png"))) == 2 for folder in (made / "zero_shot").glob("*/*"))
    # Held-out combinations: in no training caption, by name or by another format.
    raw = (made / "dataset_petri.json").read_text()
    assert not [name for name in unseen if name in raw]


def test_formats_are_written_as_asked(tmp_path: Path) -> None:
    write_world(tmp_path / "w", **SIZES, formats="karpathy,csv")
    assert {path.name for path in (tmp_path / "w").iterdir()} == {
        "world.json", "images", "dataset_petri.json", "captions_train.csv", "captions_val.csv", "captions_test.csv"
    }  # fmt: skip


def test_options_reach_the_world(tmp_path: Path) -> None:
    options = {"skew": "natural", "domain": "night", "held_out": ["red star", "blue ring"], "formats": ["csv"]}
    info = write_world(tmp_path / "w", **SIZES, **options)
    settings = world_settings(tmp_path / "w")
    assert (settings.skew, settings.domain) == ("natural", "night")
    assert settings.held_out_pairs == {("red", "star"), ("blue", "ring")}
    assert info["counts"]["train"] == 30 and info["options"]["domain"] == "night"
    assert {p.scene.domain for p in world_pictures(settings)} == {"night"}


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_world(tmp_path / "w", **SIZES, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (250, 250) and [done for done, _ in told] == sorted(done for done, _ in told)


def test_same_world_is_reused_and_another_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    assert write_world(folder, **SIZES, formats=["csv"])["reused"] is False
    before = (folder / "world.json").stat().st_mtime_ns
    assert write_world(folder, **SIZES, formats=("csv",))["reused"] is True
    assert (folder / "world.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"another petri world \(seed is 0, not 4\).*delete it or choose another"):
        write_world(folder, **SIZES, formats=["csv"], seed=4)


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="no petri world; choose an empty or new folder"):
        write_world(tmp_path, **SIZES)
    with pytest.raises(UserError, match="is a file"):
        write_world(tmp_path / "notes.txt", **SIZES)
    with pytest.raises(UserError, match="notes.txt"):
        write_world(tmp_path / "notes.txt" / "world", **SIZES)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write_world(tmp_path, **SIZES, formats=["csv"])
    assert world_settings(tmp_path).images == 30


def test_a_world_written_meanwhile_by_another_process_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = world.write_karpathy

    def slow(path: Path, pictures: Any) -> None:
        real(path, pictures)
        if not (tmp_path / "w").exists():
            shutil.copytree(path.parent, tmp_path / "w")
            write_json(tmp_path / "w" / "world.json", describe(settings))

    settings = make_settings(**{**OPTIONS, **SIZES})
    monkeypatch.setattr(world, "write_karpathy", slow)
    assert write_world(tmp_path / "w", **SIZES, formats=["karpathy"])["reused"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_stopped_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def stop(*args: object) -> None:
        raise error

    monkeypatch.setattr(world, "write_karpathy", stop)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="disk is full" if isinstance(error, OSError) else "^$"):
        write_world(tmp_path / "w", **SIZES)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_cleared_away(tmp_path: Path) -> None:
    import socket

    left = tmp_path / f".w.{socket.gethostname()}-999999999.petri-tmp"
    (left / "images").mkdir(parents=True)
    write_world(tmp_path / "w", **SIZES, formats=["csv"])
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("images", 0, "images: must be a whole number of at least 1"),
        ("seed", -1, "seed: must be"),
        ("val", 2.5, "val: must be a whole number"),
        ("image_size", 8, "image_size: must be a whole number from 16"),
        ("formats", ["karpathi"], "formats: 'karpathi' is not one of.*Did you mean 'karpathy'"),
        ("formats", [], "formats: name at least one"),
        ("skew", "evn", "skew: 'evn'.*Did you mean 'even'"),
        ("domain", "nite", "domain: 'nite'.*plain, sketch, night"),
        ("held_out", ["red circel"], "held_out: unknown class 'red circel'.*Did you mean 'red circle'"),
        ("held_out", 80, "held_out: must be a number from 0 to 50"),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, option: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        write_world(tmp_path / "w", **{**SIZES, option: value})
    assert "\n" not in str(caught.value) and not (tmp_path / "w").exists()


def test_reading_settings_of_what_is_no_world(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        world_settings(tmp_path)
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(UserError, match="delete the folder"):
        world_settings(tmp_path)
    content = load(made / "world.json")
    (tmp_path / "world.json").write_text(json.dumps({**content, "petri_world": 99}))
    with pytest.raises(UserError, match="version 99"):
        world_settings(tmp_path)


def test_a_world_in_more_formats_will_do(tmp_path: Path) -> None:
    options = {"images": 2, "val": 1, "test": 1, "image_size": 16}
    write_world(tmp_path / "w", formats=("karpathy", "csv"), **options)
    again = write_world(tmp_path / "w", formats=("csv",), **options)
    assert again["reused"] and set(world_settings(tmp_path / "w").formats) == {"karpathy", "csv"}
    with pytest.raises(UserError, match="formats"):
        write_world(tmp_path / "w", formats=("csv", "coco"), **options)
