"""Labelled data sets as torchvision's own classes lay them out on disk: MNIST, FGVCAircraft, Food101, ...

torchvision finds the files, splits and class names; pictures stay in their files until they are opened. What has a
format of its own here isn't opened a second way (CIFAR, whose pickles torchvision would run; folders of class folders).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipdistill.data.sources.arrays import ArraySource
from clipdistill.data.sources.base import Row, TableSource, class_captions, existing, not_empty
from clipdistill.errors import UserError, nearest
from clipdistill.waits import network_limit


@dataclass(frozen=True)
class Known:
    """How a torchvision class is called and what it keeps.

    splits: its splits, the default first; none when it has none. holds: how its pictures are kept, `files` that a
    `loader` opens, `arrays` (`data`), or files in a `list` of its own. folder: what it looks for below the root.
    """

    folder: str
    splits: tuple[str, ...] = ("test", "train")
    holds: Literal["files", "arrays", "list"] = "files"


KNOWN = {
    "MNIST": Known("MNIST/raw/t10k-images-idx3-ubyte and so on", holds="arrays"),
    "FashionMNIST": Known("FashionMNIST/raw/t10k-images-idx3-ubyte and so on", holds="arrays"),
    "KMNIST": Known("KMNIST/raw/t10k-images-idx3-ubyte and so on", holds="arrays"),
    "USPS": Known("usps.t.bz2", holds="arrays"),
    "STL10": Known("stl10_binary/", holds="arrays"),
    "SVHN": Known("test_32x32.mat", ("test", "train", "extra"), "arrays"),
    "FGVCAircraft": Known("fgvc-aircraft-2013b/", ("test", "train", "val", "trainval")),
    "Food101": Known("food-101/"),
    "OxfordIIITPet": Known("oxford-iiit-pet/images/ and annotations/", ("test", "trainval"), "list"),
    "StanfordCars": Known("stanford_cars/devkit/, cars_test/ and cars_test_annos_withlabels.mat"),
    "Flowers102": Known("flowers-102/jpg/, imagelabels.mat and setid.mat", ("test", "train", "val")),
    "DTD": Known("dtd/dtd/", ("test", "train", "val")),
    "EuroSAT": Known("eurosat/2750/", ()),
    "GTSRB": Known("gtsrb/GTSRB/Final_Test/Images/ and gtsrb/GT-final_test.csv", holds="list"),
    "SUN397": Known("SUN397/", ()),
    "Country211": Known("country211/", ("test", "train", "valid")),
    "RenderedSST2": Known("rendered-sst2/", ("test", "train", "val")),
}
ELSEWHERE = {
    "CIFAR10": "format: cifar10",
    "CIFAR100": "format: cifar100",
    "ImageNet": "format: imagefolder with the folder of its split, and class_names: imagenet",
    "Caltech101": "format: imagefolder with 101_ObjectCategories",
    "ImageFolder": "format: imagefolder",
}


def open_torchvision(
    path: str,
    *,
    dataset: str | None = None,
    name: str | None = None,
    split: str | None = None,
    templates: str | Sequence[str] | None = None,
    download: bool = False,
) -> TableSource | ArraySource:
    """Open a data set that torchvision knows.

    path: the folder that torchvision calls `root`. dataset: the class's name, such as MNIST or FGVCAircraft. split: by
    default `test`. templates: caption templates with {} for the class name. download: fetch it into `path` first if it
    isn't there.

    Class names are those of torchvision, with MNIST's as digits, EuroSAT's and SUN397's as words; where it knows none
    (GTSRB, SVHN) they are the labels' numbers.

    Raises:
        UserError: no such data set or split, one that isn't there (says what to get), broken files, a package missing.
    """
    known = _known(dataset)
    kind = str(dataset)
    if split is not None and split not in known.splits:
        has = ", ".join(known.splits) or "no splits; leave it out"
        raise UserError(f"{path}: no split '{split}'; {kind} has {has}.{nearest(split, known.splits)}")
    split = split or next(iter(known.splits), "all")
    if not download:
        existing(path, "folder", f"give the folder that holds {known.folder}, or set download: true")
    data = _open(kind, known, path, split, download)
    title = name or (f"{kind.lower()}-{split}" if known.splits else kind.lower())
    if known.holds == "arrays":
        pixels = _pixels(np.asarray(data.data))
        labels = np.asarray(data.targets if hasattr(data, "targets") else data.labels, dtype=np.int64)
        not_empty(range(len(pixels)), path, (), "pictures")
        return ArraySource(title, split, pixels, labels, _classes(kind, data, labels.tolist()), templates)
    return _files(title, Path(path).expanduser(), kind, data, known, templates)


def _known(dataset: str | None) -> Known:
    if dataset in KNOWN:
        return KNOWN[dataset]
    if dataset in ELSEWHERE:
        raise UserError(f"dataset: {dataset} is opened with {ELSEWHERE[dataset]}")
    given = f"no '{dataset}'" if dataset else "which one? Give torchvision's class name"
    raise UserError(f"dataset: {given}; there are {', '.join(KNOWN)}.{nearest(str(dataset), KNOWN)}")


def _open(kind: str, known: Known, path: str, split: str, download: bool) -> Any:
    import torchvision

    make = getattr(torchvision.datasets, kind)
    accepts = inspect.signature(make).parameters
    options: dict[str, Any] = {"download": True} if download else {}
    if "train" in accepts:
        options["train"] = split == "train"
    elif known.splits:
        options["split"] = split
    if known.holds == "files":
        options["loader"] = str  # a picture is its path until it is opened
    try:
        with network_limit():
            return make(str(Path(path).expanduser()), **options)
    except Exception as error:  # each class raises what its own parser raises on missing and broken files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, ImportError) or "scipy" in reason.lower():
            fix = "torchvision reads this one with scipy: pip install scipy, or open it from Hugging Face"
        else:
            fix = f"there should be {known.folder} as unpacked from its official archives; or set download: true"
        raise UserError(f"{path}: torchvision's {kind} can't be opened ({reason}); {fix}") from None


def _files(
    title: str, root: Path, kind: str, data: Any, known: Known, templates: str | Sequence[str] | None
) -> TableSource:
    if known.holds == "files":
        pairs = [data[index] for index in range(len(data))]
    else:
        pairs = data._samples if kind == "GTSRB" else list(zip(data._images, data._labels, strict=True))
    classes = _classes(kind, data, [label for _, label in pairs])
    captions = [class_captions(templates, one) for one in classes]
    rows = []
    for file, label in pairs:
        place = Path(file).relative_to(root).as_posix()
        rows.append(Row(place, place, captions[label], int(label)))
    not_empty(rows, root, (), "pictures")
    return TableSource(title, root, sorted(rows, key=lambda row: row.id), [], classes)


def _pixels(data: np.ndarray) -> np.ndarray:
    """[N, H, W] or [N, 3, H, W] -> uint8 [N, H, W, 3], without a copy."""
    if data.ndim == 3:
        return np.broadcast_to(data[..., None], (*data.shape, 3))
    return data.transpose(0, 2, 3, 1)


def _classes(kind: str, data: Any, labels: list[int]) -> tuple[str, ...]:
    names = [str(one) for one in getattr(data, "classes", None) or range(max(labels, default=0) + 1)]
    if kind in ("MNIST", "USPS"):  # "7 - seven"
        names = [one.partition(" - ")[0] for one in names]
    if kind == "EuroSAT":  # "AnnualCrop"
        names = ["".join(f" {letter.lower()}" if letter.isupper() else letter for letter in n).strip() for n in names]
    if kind == "SUN397":  # "apartment_building/outdoor"
        names = [one.replace("/", " ") for one in names]
    return tuple(names)
