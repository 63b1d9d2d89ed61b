"""Data sets in the layouts that torchvision's classes read, with a few pictures each."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from data_files import write_pictures


def mnist(root: Path, count: int = 6, kind: str = "MNIST") -> np.ndarray:
    """The test and training files in idx format; the pixels of the test split."""
    draw = np.random.default_rng(0)
    folder = root / kind / "raw"
    folder.mkdir(parents=True)
    found = {}
    for split, number in (("train", count + 2), ("t10k", count)):
        pixels = draw.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        labels = np.arange(number, dtype=np.uint8) % 10
        (folder / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *pixels.shape) + pixels.tobytes())
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, number) + labels.tobytes())
        found[split] = pixels
    return found["t10k"]


def aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    write_pictures(data / "images", ["0034309.jpg", "1514522.jpg", "0817494.jpg"])
    (data / "variants.txt").write_text("707-320\n727-200\nA300B4\n")
    (data / "images_variant_test.txt").write_text("1514522 A300B4\n0034309 707-320\n")
    (data / "images_variant_train.txt").write_text("0817494 727-200\n")


def pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    write_pictures(folder / "images", ["Abyssinian_2.jpg", "american_bulldog_10.jpg"])
    (folder / "annotations").mkdir()
    (folder / "annotations" / "test.txt").write_text("Abyssinian_2 1 1 1\namerican_bulldog_10 2 2 1\n")


def eurosat(root: Path) -> None:
    write_pictures(root / "eurosat" / "2750", ["AnnualCrop/AnnualCrop_1.jpg", "SeaLake/SeaLake_1.jpg"])


def gtsrb(root: Path) -> None:
    folder = root / "gtsrb"
    write_pictures(folder / "GTSRB" / "Final_Test" / "Images", ["00000.ppm", "00001.ppm"])
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"
    rows = "00000.ppm;12;10;1;1;8;8;2\n00001.ppm;12;10;1;1;8;8;0\n"
    (folder / "GT-final_test.csv").write_text(head + rows)
