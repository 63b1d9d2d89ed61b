"""torchvision's data sets, from files in their official layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
import torchvision_files
from PIL import Image

from clipdistill.data import open_source, parse_shorthand
from clipdistill.data.sources.torchvision import ELSEWHERE, KNOWN
from clipdistill.errors import UserError


def test_mnist_idx_files(tmp_path: Path) -> None:
    pixels = torchvision_files.mnist(tmp_path)
    source = open_source({"format": "torchvision", "path": str(tmp_path), "dataset": "MNIST", "templates": "the {}"})
    assert (source.name, len(source), source.classes) == ("mnist-test", 6, tuple("0123456789"))
    sample = source[5]
    assert (sample.id, sample.label, sample.captions) == ("test/000005", 5, ("the 5",))
    assert np.array_equal(np.asarray(sample.image.open()), pixels[5][..., None].repeat(3, axis=2))
    assert len(open_source(f"torchvision:{tmp_path}/MNIST@train")) == 8
    again = open_source({"format": "torchvision", "path": str(tmp_path), "dataset": "MNIST", "split": "test"})
    assert source.fingerprint() != again.fingerprint() and again.fingerprint() == again.fingerprint()


def test_aircraft_pictures_stay_in_their_files(tmp_path: Path) -> None:
    torchvision_files.aircraft(tmp_path)
    spec = {"format": "torchvision", "path": str(tmp_path), "dataset": "FGVCAircraft", "name": "planes"}
    source = open_source(spec)
    assert (source.name, source.classes) == ("planes", ("707-320", "727-200", "A300B4"))
    assert [(source[n].id, source[n].label) for n in range(2)] == [
        ("fgvc-aircraft-2013b/data/images/0034309.jpg", 0),
        ("fgvc-aircraft-2013b/data/images/1514522.jpg", 2),
    ]
    file = tmp_path / source[0].id
    assert np.array_equal(np.asarray(source[0].image.open()), np.asarray(Image.open(file)))
    file.unlink()
    assert open_source(spec)[0].label == 0, "a picture is looked for when it is opened, and then counted as bad"
    assert len(open_source({**spec, "split": "train"})) == 1


@pytest.mark.parametrize(
    ("make", "dataset", "classes", "labels"),
    [
        (torchvision_files.pets, "OxfordIIITPet", ("Abyssinian", "American Bulldog"), [0, 1]),
        (torchvision_files.eurosat, "EuroSAT", ("annual crop", "sea lake"), [0, 1]),
        (torchvision_files.gtsrb, "GTSRB", ("0", "1", "2"), [2, 0]),
    ],
)
def test_others(tmp_path: Path, make: Any, dataset: str, classes: tuple[str, ...], labels: list[int]) -> None:
    make(tmp_path)
    source = open_source({"format": "torchvision", "path": str(tmp_path), "dataset": dataset})
    assert source.classes == classes and [source[n].label for n in range(2)] == labels
    assert source[1].image.open().size == (12, 10)


def test_every_name_is_one_of_torchvision() -> None:
    for name in (*KNOWN, *ELSEWHERE):
        assert isinstance(getattr(torchvision.datasets, name), type)


def test_the_shorthand_names_folder_class_and_split() -> None:
    spec = {"format": "torchvision", "path": "data/tv", "dataset": "DTD", "split": "val"}
    assert parse_shorthand("torchvision:data/tv/DTD@val") == spec
    assert parse_shorthand("torchvision:DTD") == {"format": "torchvision", "path": ".", "dataset": "DTD"}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "dataset: which one"),
        ({"dataset": "MNITS"}, "no 'MNITS'; there are .* Did you mean 'MNIST'"),
        ({"dataset": "CIFAR10"}, "CIFAR10 is opened with format: cifar10"),
        ({"dataset": "MNIST", "split": "val"}, "no split 'val'; MNIST has test, train"),
        ({"dataset": "EuroSAT", "split": "test"}, "EuroSAT has no splits; leave it out"),
        ({"dataset": "Food101"}, "Food101 can't be opened .*there should be food-101/ .* or set download: true"),
        ({"dataset": "MNIST", "path": "no/where"}, "no/where: no such folder; .*MNIST/raw/t10k-images-idx3-ubyte"),
        ({"dataset": "MNIST", "root": "x"}, "has no option 'root'"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        open_source({"format": "torchvision", "path": str(tmp_path)} | spec)
    assert "\n" not in str(caught.value)


def test_broken_files_and_a_missing_package_get_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision_files.mnist(tmp_path)
    spec = {"format": "torchvision", "path": str(tmp_path), "dataset": "MNIST"}
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    for content in (b"", b"not idx at all", file.read_bytes()[:-5]):
        file.write_bytes(content)
        with pytest.raises(UserError, match="torchvision's MNIST can't be opened") as caught:
            open_source(spec)
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    (tmp_path / "stanford_cars").mkdir()
    with pytest.raises(UserError, match="pip install scipy"):
        open_source({**spec, "dataset": "StanfordCars"})


def test_nothing_is_downloaded_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Fake(torchvision.datasets.MNIST):
        def download(self) -> None:
            asked.append(self.root)
            torchvision_files.mnist(Path(self.root), kind="Fake")

    monkeypatch.setattr(torchvision.datasets, "MNIST", Fake)
    spec = {"format": "torchvision", "path": str(tmp_path / "new"), "dataset": "MNIST"}
    with pytest.raises(UserError, match="no such folder"):
        open_source(spec)
    assert not asked
    assert len(open_source({**spec, "download": True})) == 6 and asked == [str(tmp_path / "new")]
