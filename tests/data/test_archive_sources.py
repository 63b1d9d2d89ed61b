"""WebDataset shards, Hugging Face data sets, CIFAR and arrays, written in their official layouts."""

from __future__ import annotations

import json
import pickle
import tarfile

import datasets
import numpy as np
import pytest
from data_files import encoded, picture, write_cifar, write_shard, write_tar

from clipdistill.data.sample import BadImage
from clipdistill.data.sources import open_source
from clipdistill.errors import UserError


@pytest.fixture
def shards(tmp_path):
    for number in range(3):
        write_shard(tmp_path / "cc3m" / f"{number:05d}.tar", 10 * number, 4)
    return tmp_path / "cc3m"


def test_shards_by_brace_glob_folder_and_list(shards) -> None:
    ways = [
        f"{shards}/{{00000..00002}}.tar",
        f"{shards}/*.tar",
        str(shards),
        [f"{shards}/0000{i}.tar" for i in range(3)],
    ]
    for path in ways:
        source = open_source({"format": "webdataset", "path": path})
        assert len(source) == 12 and source.blocks == [range(0, 4), range(4, 8), range(8, 12)]
        assert source.name == "cc3m"
        sample = source[9]
        assert sample.id == "000000021" and sample.captions == ("shard picture 21",)
        assert np.array_equal(np.asarray(sample.image.open()), np.asarray(picture(21)))


def test_index_is_kept_renewed_and_never_required(shards) -> None:
    source = open_source(str(shards))
    index = shards / ".00001.tar.index.json"
    assert index.exists() and open_source(str(shards)).fingerprint() == source.fingerprint()
    index.write_text("{not an index")
    assert open_source(str(shards)).fingerprint() == source.fingerprint()
    write_shard(shards / "00001.tar", 50, 2)
    assert open_source(str(shards)).ids[4:6] == ["000000050", "000000051"]
    for file in shards.glob(".*.json"):
        file.unlink()
    shards.chmod(0o555)
    try:
        assert len(open_source(str(shards))) == 10
    finally:
        shards.chmod(0o755)


def test_members_in_folders_caption_in_json_and_broken_samples(tmp_path) -> None:
    png = encoded(picture(1))
    members = [
        ("./a/0.jpg", png),
        ("./a/0.json", json.dumps({"caption": "from json", "alt": "other"}).encode()),
        ("./b/0.webp", encoded(picture(2), "WEBP")),
        ("./b/0.txt", b"\xef\xbb\xbffrom text\r\n"),
        ("only.txt", b"no picture"),
        ("mute.png", png),
        ("mute.txt", b" \n"),
        ("odd.png", png),
        ("odd.json", b"{"),
        ("lying.jpg", b"<html>"),
        ("lying.txt", b"a page"),
    ]
    path = write_tar(tmp_path / "x-000.tar", members)
    source = open_source(str(path))
    assert [source[i].captions for i in range(3)] == [("from json",), ("from text",), ("a page",)]
    assert source.ids == ["a/0", "b/0", "lying"]
    assert dict(source.skipped) == {
        "only": "no image",
        "mute": "no caption that isn't empty",
        "odd": "no caption that isn't empty",
    }
    with pytest.raises(BadImage, match="not an image"):
        source[2].image.open()
    other = open_source({"path": str(path), "caption": "alt"})
    assert other[0].captions == ("other",)


def test_same_keys_in_two_shards_become_two_samples(tmp_path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / f"{name}.tar", 0, 2)
    assert open_source(str(tmp_path)).ids == ["000000000", "000000001", "000000000#2", "000000001#2"]


def test_cls_members_are_labels(tmp_path) -> None:
    png = encoded(picture())
    members = [
        (f"{i}.{kind}", data) for i in range(3) for kind, data in (("png", png), ("cls", f"{10 * i}\n".encode()))
    ]
    path = str(write_tar(tmp_path / "x.tar", members))
    source = open_source(path)
    assert source.classes == ("0", "10", "20") and [source[i].label for i in range(3)] == [0, 1, 2]
    named = open_source({"path": path, "classes": [f"class {i}" for i in range(21)]})
    assert named[2].label == 20 and named.classes[20] == "class 20"
    with pytest.raises(UserError, match="'classes' names 5"):
        open_source({"path": path, "classes": list("abcde")})


def test_truncated_shard_keeps_what_can_be_read(shards) -> None:
    data = (shards / "00000.tar").read_bytes()
    (shards / "00000.tar").write_bytes(data[: len(data) // 2 - 700])
    source = open_source(str(shards / "00000.tar"))
    assert 0 < len(source) < 4
    assert any(one == "00000.tar" and "cut short" in why for one, why in source.skipped)


def test_bad_shard_paths(tmp_path, shards) -> None:
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        tar.add(shards / "00000.tar", "x")
    (tmp_path / "page.tar").write_text("<html>")
    write_tar(tmp_path / "empty" / "e.tar", [])
    for path, message in (
        (tmp_path / "packed.tar", "compressed.*unpack"),
        (tmp_path / "page.tar", "not a tar"),
        (f"{shards}/{{00002..00004}}.tar", r"00003\.tar: no such shard"),
        (f"{shards}/{{0,1.tar", "braces don't match"),
        ("https://example.org/{0..3}.tar", "local disk"),
        (tmp_path / "empty" / "e.tar", "no usable samples"),
    ):
        with pytest.raises(UserError, match=message):
            open_source({"format": "webdataset", "path": str(path)})
    with pytest.raises(UserError, match="no shards"):
        open_source({"format": "webdataset", "path": str(tmp_path) + "/empty", "split": "train"})


def pictures_and_texts(count: int) -> datasets.Dataset:
    rows = {
        "image": [{"bytes": encoded(picture(i)), "path": None} for i in range(count)],
        "text": [f"text {i}" if i != 1 else " " for i in range(count)],
        "kind": [i % 2 for i in range(count)],
    }
    features = {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "kind": datasets.ClassLabel(names=["x", "y"]),
    }
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def test_huggingface_folder_with_splits(tmp_path) -> None:
    datasets.DatasetDict({"train": pictures_and_texts(4), "test": pictures_and_texts(2)}).save_to_disk(tmp_path / "d")
    source = open_source({"path": f"{tmp_path}/d", "split": "train", "label": "kind"})
    assert open_source(f"{tmp_path}/d@train").classes is None
    assert len(source) == 3 and source.skipped == [("00000001", "no caption that isn't empty")]
    sample = source[2]
    assert (sample.id, sample.captions, sample.label) == ("00000003", ("text 3",), 1) and source.classes == ("x", "y")
    assert np.array_equal(np.asarray(sample.image.open()), np.asarray(picture(3)))
    with pytest.raises(UserError, match="no split 'tets'; it has test, train. Did you mean 'test'"):
        open_source(f"{tmp_path}/d@tets")
    with pytest.raises(UserError, match="no column 'txt'.*Did you mean 'text'"):
        open_source({"path": f"{tmp_path}/d", "caption": "txt"})


def test_huggingface_parquet_and_class_templates(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    pictures_and_texts(3).remove_columns("text").to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    source = open_source({"path": str(tmp_path / "data"), "split": "train", "templates": "a {}"})
    assert [source[i].captions for i in range(3)] == [("a x",), ("a y",), ("a x",)]
    source[0].image.open()
    with pytest.raises(UserError, match="no split 'val'; it has train"):
        open_source({"path": str(tmp_path / "data"), "split": "val"})


def test_huggingface_hub_offline_says_what_to_fetch(monkeypatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(UserError, match="someone/nothing: .*hf download --repo-type dataset") as caught:
        open_source("huggingface:someone/nothing@train")
    assert "\n" not in str(caught.value)


def offline(*_: object) -> None:
    raise ConnectionError("Couldn't reach the Hub\nsecond line")


@pytest.mark.parametrize("kind", [10, 100])
def test_cifar_official_files(tmp_path, kind: int) -> None:
    pixels = write_cifar(tmp_path, kind)
    source = open_source({"path": str(tmp_path), "templates": "a photo of a {}."})
    assert len(source) == 7 and len(source.classes) == kind
    sample = source[3]
    assert (sample.id, sample.label, sample.captions) == ("test/000003", 3, ("a photo of a class 3.",))
    assert np.array_equal(np.asarray(sample.image.open()), pixels[3])
    inside = next(tmp_path.iterdir())
    train = open_source(f"cifar{kind}:{inside}@train")
    assert len(train) == (15 if kind == 10 else 4)


def test_cifar_missing_and_hostile(tmp_path) -> None:
    with pytest.raises(UserError, match="cifar-10-python.tar.gz.*download: true"):
        open_source({"format": "cifar10", "path": str(tmp_path)})
    write_cifar(tmp_path, 10)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError, match="test_batch: can't be read.*it asks for"):
        open_source({"format": "cifar10", "path": str(tmp_path)})


class Hostile:
    def __reduce__(self) -> tuple:
        return print, ("code ran",)


def test_arrays(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "test_images.npy", pixels)
    np.save(tmp_path / "test_labels.npy", np.array([1, 0, 1, 1]))
    (tmp_path / "classes.json").write_text('["cat", "dog"]')
    source = open_source(f"{tmp_path}@test")
    assert source.classes == ("cat", "dog") and [source[i].label for i in range(4)] == [1, 0, 1, 1]
    assert np.array_equal(np.asarray(source[2].image.open()), pixels[2])
    np.save(tmp_path / "test_labels.npy", np.array([1, 0, 2, 1]))
    with pytest.raises(UserError, match="test_labels.npy"):
        open_source(f"{tmp_path}@test")
