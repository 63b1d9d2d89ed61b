"""What is in a file of region features, and how a picture's record is found in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clipdistill.errors import UserError

HEAD = 2**16


class BadRecord(Exception):
    """The record of one picture can't be used; `str(error)` is the reason."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a file has of one picture: n regions, in its order.

    features: float [n, D]. boxes: float [n, 4], x1 y1 x2 y2, in pixels where `size` is (width, height) or None (then
    those of the picture itself), as shares of the picture where it is (1, 1). scores: float [n]; None = not said.
    classes: float [n, C], probabilities of the detector's classes; None = not said. labels: n names.
    """

    features: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None = None
    size: tuple[float, float] | None = None
    classes: np.ndarray | None = None
    labels: tuple[str, ...] | None = None


class RegionFile(Protocol):
    """A file, or a folder of files, of region features.

    path: where. key: stands for its content. names: of the records, in order.
    """

    path: Path
    key: str
    names: list[str]

    def read(self, name: str) -> Record:
        """One record. Raises `BadRecord` when it can't be used."""
        ...


def checked(record: Record) -> Record:
    """The record, if its parts fit one another and are numbers; raises `BadRecord` else."""
    count = len(record.features)
    if record.features.ndim != 2 or count == 0 or record.features.shape[1] == 0:
        raise BadRecord(f"features of shape {record.features.shape}, not [regions, width]")
    if record.boxes.shape != (count, 4):
        raise BadRecord(f"boxes of shape {record.boxes.shape} for {count} features")
    for what, part in (("confidences", record.scores), ("classes", record.classes), ("labels", record.labels)):
        if part is not None and len(part) != count:
            raise BadRecord(f"{len(part)} {what} for {count} features")
    if not all(np.isfinite(part).all() for part in (record.features, record.boxes)):
        raise BadRecord("NaN or infinity in its features or boxes")
    if record.size is not None and min(record.size) <= 0:
        raise BadRecord(f"a picture of {record.size[0]:g} x {record.size[1]:g}")
    return record


def from_arrays(arrays: Mapping[str, Any], shares: bool = True) -> Record:
    """A record of UNITER's arrays: `features` [n, D], `norm_bb` [n, 4 or more] as shares, `conf`, `soft_labels`.

    shares: False where `boxes` or `bbox` in pixels are taken instead of `norm_bb`.
    """
    found = {name: np.asarray(value) for name, value in arrays.items()}
    for name in ("features", "norm_bb") if shares else ("features",):
        if name not in found:
            raise BadRecord(f"no '{name}' (it has {', '.join(sorted(found)) or 'nothing'})")
    boxes = found["norm_bb"] if shares else found.get("bbox", found.get("boxes", np.zeros((0, 4))))
    if boxes.ndim != 2 or boxes.shape[1] < 4:
        raise BadRecord(f"boxes of shape {boxes.shape}, not [regions, 4 or more]")
    conf = found.get("conf")
    if conf is not None and conf.ndim == 2:  # of each class
        conf = conf.max(axis=1)
    size = (1.0, 1.0) if shares else None
    return checked(Record(found["features"], boxes[:, :4].astype(np.float64), conf, size, found.get("soft_labels")))


class Names:
    """Finds the record of a picture: by its id, its file's name with or without the suffix, or the number in the end.

    Suffixes and upper case don't matter. A number counts only if no two records end with it and no two of the pictures
    that are asked for do: COCO_train2014_000000000009.jpg is 9, and frame@0.jpg isn't just any record that ends with 0.

    Args:
        names: of the records. keys: picture id -> record, for those that are named otherwise.
    """

    def __init__(self, names: Iterable[str], keys: Mapping[str, str] | None = None) -> None:
        self.keys = dict(keys or {})
        self._names: dict[str, str] = {}
        for name in names:
            for form in _forms(name):
                self._names.setdefault(form, name)
        self._numbers = _unique_numbers(self._names.values())

    def of(self, pictures: Iterable[str]) -> list[str | None]:
        """The record of each of these pictures; None where there is none."""
        pictures = list(pictures)
        own = {number: picture for picture, number in ((one, _number(one)) for one in pictures) if number is not None}
        alone = {number for number, count in _counts(pictures).items() if count == 1 and number in own}
        return [self._one(picture, alone) for picture in pictures]

    def _one(self, picture: str, alone: set[int]) -> str | None:
        if picture in self.keys:
            return self._names.get(self.keys[picture].lower())
        for form in _forms(picture):
            if form in self._names:
                return self._names[form]
        number = _number(picture)
        return self._numbers.get(number) if number in alone and number is not None else None


def read_keys(path: str | Path) -> dict[str, str]:
    """A JSON file of picture id -> record's name. Raises `UserError` when it isn't one."""
    file = Path(path).expanduser()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"`keys`: {file}: no such file; give JSON of picture -> record") from None
    except ValueError:
        raise UserError(f"`keys`: {file}: not JSON; give an object of picture -> record") from None
    if not isinstance(content, dict) or not all(isinstance(one, str | int) for one in content.values()):
        raise UserError(f"`keys`: {file}: not an object of picture -> record")
    return {str(picture): str(name) for picture, name in content.items()}


def file_key(files: Iterable[Path], *more: Any) -> str:
    """A hash of sizes, names, and first and last bytes of some files: what a large file can be told from another by."""
    digest = hashlib.sha256(repr(more).encode())
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with open(file, "rb") as handle:
            digest.update(handle.read(HEAD))
            handle.seek(max(0, size - HEAD))
            digest.update(handle.read(HEAD))
    return digest.hexdigest()[:16]


def _forms(name: str) -> list[str]:
    """A name as it is, without its folders, and without its suffix; in lower case."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem, dot, suffix = last.rpartition(".")
    plain = [stem] if dot and suffix.isalnum() and not suffix.isdigit() else []
    return list(dict.fromkeys(one.lower() for one in (name, last, *plain)))


def _number(name: str) -> int | None:
    last = _forms(name)[-1]
    digits = last[len(last.rstrip("0123456789")) :]
    return int(digits) if digits else None


def _counts(names: Iterable[str]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for name in names:
        number = _number(name)
        if number is not None:
            counts[number] = counts.get(number, 0) + 1
    return counts


def _unique_numbers(names: Iterable[str]) -> dict[int, str]:
    distinct = list(dict.fromkeys(names))
    counts = _counts(distinct)
    return {number: name for name in distinct if (number := _number(name)) is not None and counts[number] == 1}
