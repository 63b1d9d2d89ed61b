"""What the command line makes of a path."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from data_files import encoded, picture, write_cifar, write_csv, write_karpathy, write_pictures, write_shard

from clipdistill.data.sources import guess_format, parse_shorthand
from clipdistill.errors import UserError


def test_files(tmp_path) -> None:
    write_csv(tmp_path, 1)
    assert guess_format(tmp_path / "captions.csv") == {"format": "csv", "path": str(tmp_path / "captions.csv")}
    for name, text, kind in (
        ("a.tsv", "", "csv"),
        ("a.jsonl", "", "csv"),
        ("coco.json", '{"images": [{"id": 1, "file_name": "x"}], "annotations": []}', "coco"),
        ("lines.json", '{"image": "a"}\n{"image": "b"}\n', "csv"),
        ("a.parquet", "", "huggingface"),
    ):
        (tmp_path / name).write_text(text)
        assert guess_format(tmp_path / name)["format"] == kind, name
    assert guess_format(write_karpathy(tmp_path, {"test": 1}))["format"] == "karpathy"
    assert guess_format(write_shard(tmp_path / "s.tar", 0, 1))["format"] == "webdataset"
    for pattern in ("no/such-{000..003}.tar", "no/such-*.tar"):
        assert guess_format(pattern) == {"format": "webdataset", "path": pattern}


def test_folders(tmp_path) -> None:
    write_cifar(tmp_path / "c10", 10)
    write_cifar(tmp_path / "c100", 100)
    write_shard(tmp_path / "wds" / "0.tar", 0, 1)
    write_pictures(tmp_path / "classes", ["x/1.png"])
    write_pictures(tmp_path / "splits", ["val/x/1.png"])
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "test_images.npy", np.zeros((1, 2, 2, 3), np.uint8))
    datasets.Dataset.from_dict({"image": [encoded(picture())]}).save_to_disk(tmp_path / "hf")
    for name, kind in (
        ("c10", "cifar10"),
        ("c10/cifar-10-batches-py", "cifar10"),
        ("c100", "cifar100"),
        ("c100/cifar-100-python", "cifar100"),
        ("wds", "webdataset"),
        ("classes", "imagefolder"),
        ("splits", "imagefolder"),
        ("arrays", "arrays"),
        ("hf", "huggingface"),
    ):
        assert guess_format(tmp_path / name)["format"] == kind, name


def test_what_is_not_known_says_how_to_say_it(tmp_path) -> None:
    (tmp_path / "x.bin").write_bytes(b"?")
    (tmp_path / "list.json").write_text("[1, 2]")
    for name in ("x.bin", "list.json", "."):
        with pytest.raises(UserError, match="Write FORMAT:PATH"):
            guess_format(tmp_path / name)
    with pytest.raises(UserError, match="none: no such file or folder"):
        guess_format(tmp_path / "none")


def test_shorthand(tmp_path) -> None:
    path = write_karpathy(tmp_path / "at@home", {"test": 1})
    assert parse_shorthand(f"{path}@test") == {"format": "karpathy", "path": str(path), "split": "test"}
    assert parse_shorthand(str(path)) == {"format": "karpathy", "path": str(path)}
    assert parse_shorthand("huggingface:org/name@train") == {
        "format": "huggingface",
        "path": "org/name",
        "split": "train",
    }
    assert parse_shorthand("webdataset:/d/{00..03}.tar") == {"format": "webdataset", "path": "/d/{00..03}.tar"}
    assert parse_shorthand("karpathy:x/y.json@train+restval")["split"] == "train+restval"


def test_a_mapping_is_a_source_as_recipes_have_it(tmp_path) -> None:
    path = write_csv(tmp_path, 2)
    assert parse_shorthand(f"{{path: {path}, count: 1}}") == {**guess_format(path), "count": 1}
    said = "{format: vcr, path: nowhere, question_types: petri}"
    assert parse_shorthand(said) == {"format": "vcr", "path": "nowhere", "question_types": "petri"}
    for wrong in ("{path: [1]}", "{format: vcr}", "{format: vcr, path: x", "{}"):
        with pytest.raises(UserError, match="is no source; write it as in a recipe"):
            parse_shorthand(wrong)
