"""Pictures and labels as NumPy arrays: {split}_images.npy uint8 [N, H, W, 3], {split}_labels.npy [N], classes.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources.annotations import read_json
from clipdistill.data.sources.base import class_captions, existing, fingerprint_samples, not_empty
from clipdistill.errors import UserError, nearest


class ArraySource:
    """Labelled pictures that are already decoded, one array for all (memory-mapped or in memory)."""

    blocks: list[range] | None = None

    def __init__(
        self,
        name: str,
        split: str,
        pixels: np.ndarray,
        labels: np.ndarray,
        classes: tuple[str, ...],
        templates: str | Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.classes: tuple[str, ...] | None = classes
        self.skipped: list[tuple[str, str]] = []
        self.ids = [f"{split}/{number:06d}" for number in range(len(pixels))]
        self._pixels = pixels
        self._labels = labels.astype(np.int64)
        self._captions = [class_captions(templates, one) for one in classes]

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> Sample:
        label = int(self._labels[index])
        return Sample(self.ids[index], ImageRef(np.asarray(self._pixels[index])), self._captions[label], label)

    def fingerprint(self) -> str:
        """Hash of ids, labels, captions and class names."""
        return fingerprint_samples(self)


def open_arrays(
    path: str,
    *,
    name: str | None = None,
    split: str = "train",
    templates: str | Sequence[str] | None = None,
) -> ArraySource:
    """Open a folder with {split}_images.npy, {split}_labels.npy and classes.json (a list of names).

    templates: caption templates with {} for the class name.

    Raises:
        UserError: a file is missing, of another shape or type, or empty.
    """
    folder = existing(path, "folder")
    splits = sorted(file.name.removesuffix("_images.npy") for file in folder.glob("*_images.npy"))
    if split not in splits:
        raise UserError(
            f"{folder}: no {split}_images.npy; it has splits {', '.join(splits) or 'none'}.{nearest(split, splits)}"
        )
    pixels = _array(folder / f"{split}_images.npy")
    labels = _array(existing(folder / f"{split}_labels.npy", "file"))
    names = read_json(existing(folder / "classes.json", "file", "write the class names there, as a JSON list"))
    not_empty(range(len(pixels)), folder / f"{split}_images.npy", (), "pictures")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise UserError(
            f"{folder}: {split}_images.npy is {pixels.dtype} {pixels.shape}; it should be uint8 [N, H, W, 3]"
        )
    if labels.dtype.kind not in "iu":
        raise UserError(f"{folder}: {split}_labels.npy is {labels.dtype}; labels are whole numbers, such as int64")
    if labels.shape != (len(pixels),) or labels.min() < 0 or labels.max() >= len(names):
        raise UserError(
            f"{folder}: {split}_labels.npy {labels.shape} doesn't give each of {len(pixels)} pictures one of "
            f"{len(names)} classes"
        )
    return ArraySource(name or f"{folder.name}-{split}", split, pixels, labels, tuple(map(str, names)), templates)


def _array(file: Path) -> np.ndarray:
    try:
        found: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file}: not a NumPy array ({str(error).splitlines()[0]})") from None
    return found
