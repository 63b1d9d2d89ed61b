"""What the sources of questions share: samples made when they are asked for, low-shot subsets, pictures looked up once.

A question is a sample, so a picture has many, and a data set has hundreds of thousands: kept are compact records, and a
`Sample` with its fields is made of one when it is read.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clipdistill.data.low_shot import LowShot, chosen_rows
from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources.base import IMAGE_SUFFIXES, existing
from clipdistill.errors import UserError

Skipped = list[tuple[str, str]]
KEPT = 8_192
"""Samples that a source keeps: a question comes again every epoch, and making it of its record costs as much as a
small student's share of a step."""


class QuestionSource:
    """Base of the sources of questions. A subclass says what row number `row` of its records is, in `make`.

    LABELS: names of the fields that answer the question; `unlabelled` leaves them (and `Sample.label`) out.
    strata: the class of each sample for low-shot draws, None = it has none; strata_names: the classes.
    pictures: the key of each sample's picture (`data.pictures`).
    """

    LABELS: tuple[str, ...] = ()
    blocks: list[range] | None = None

    def __init__(
        self,
        name: str,
        ids: Sequence[str],
        skipped: Skipped,
        *,
        subset: str | None = None,
        unlabelled: bool = False,
        classes: tuple[str, ...] | None = None,
        strata: Sequence[str | None] | None = None,
        strata_names: tuple[str, ...] = (),
        pictures: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.skipped = skipped
        self.classes = classes
        self.unlabelled = unlabelled
        self._rows = chosen_rows(ids, subset, unlabelled)
        self.ids = [ids[row] for row in self._rows]
        self.pictures = None if pictures is None else [pictures[row] for row in self._rows]
        self.strata = None if strata is None else [strata[row] for row in self._rows]
        self.strata_names = strata_names
        self._made: dict[int, Sample] = {}

    def part(self, drawn: LowShot, rest: bool = False) -> QuestionSource:
        """The same source with what was drawn of it, or with `rest` what wasn't; UserError as for `chosen_rows`."""
        rows = chosen_rows(self.ids, drawn, rest)
        found = copy.copy(self)
        found._rows = self._rows[rows]
        found.ids = [self.ids[row] for row in rows]
        found.pictures = None if self.pictures is None else [self.pictures[row] for row in rows]
        found.strata = None if self.strata is None else [self.strata[row] for row in rows]
        return found

    def make(self, row: int) -> Sample:
        """The sample of a record, with its labels."""
        raise TypeError(f"{type(self).__name__} must define make for record {row}")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        sample = self._sample(int(self._rows[index]))
        if not self.unlabelled:
            return sample
        fields = {name: value for name, value in sample.fields.items() if name not in self.LABELS}
        return dataclasses.replace(sample, label=None, fields=fields)

    def _sample(self, row: int) -> Sample:
        if row not in self._made:
            if len(self._made) >= KEPT:
                self._made.clear()
            self._made[row] = self.make(row)
        return self._made[row]

    def outline(self, row: int) -> tuple[tuple[str, ...], int | None, ImageRef]:
        """Captions, label and picture of a record, without what else `make` reads: for the fingerprint."""
        sample = self.make(row)
        return sample.captions, sample.label, sample.image

    def fingerprint(self) -> str:
        """As `fingerprint_samples`, without reading the questions again."""
        digest = hashlib.sha256(repr(self.classes).encode())
        probes = set(range(0, len(self), max(1, len(self) // 64)))
        for index, row in enumerate(self._rows.tolist()):
            captions, label, image = self.outline(row)
            size = image.byte_size() if index in probes else None
            label = None if self.unlabelled else label
            digest.update(repr((self.ids[index], captions, label, size)).encode())
        return digest.hexdigest()[:16]


def json_lines(file: Path, skipped: Skipped) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (line number, byte offset, object) of each line; what isn't a JSON object is noted."""
    offset = 0
    with open(file, "rb") as handle:
        for number, line in enumerate(handle, 1):
            start, offset = offset, offset + len(line)
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            try:
                content = json.loads(text)
            except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
                skipped.append((f"line {number}", "not JSON"))
                continue
            if isinstance(content, dict):
                yield number, start, content
            else:
                skipped.append((f"line {number}", "not a JSON object"))


def split_file(path: str, split: str | None, pattern: str, default: str, get: str) -> tuple[Path, str]:
    """The file of a split: `path` itself, or `pattern` (with {} for the split) inside the folder `path`; and a name.

    Raises:
        UserError: no such file, or a split of what is a file.
    """
    place = existing(path, "file or folder", get)
    if not place.is_dir():
        if split is not None:
            raise UserError(f"{place}: is a file, so it has no split '{split}'; name its folder, or leave 'split' out")
        return place, place.stem
    file = place / pattern.format(split or default)
    there = sorted(one.name for one in place.glob(pattern.format("*")))
    has = f"it has {', '.join(there[:6])}" if there else f"it has no {pattern.format('*')}"
    return existing(file, "file", has), file.stem


class PictureFolder:
    """The pictures right in one folder, by name and by the number that a name ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = {
            entry.name
            for entry in os.scandir(folder)
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file()
        }
        self._numbers: dict[int, str] | None = None

    def named(self, name: str) -> str | None:
        """The file of that name, or of that name with .jpg."""
        return name if name in self.names else f"{name}.jpg" if f"{name}.jpg" in self.names else None

    def numbered(self, number: int) -> str | None:
        """The file whose name ends with that number, such as COCO_train2014_000000000009.jpg or 9.png for 9."""
        if self._numbers is None:
            self._numbers = {}
            for name in sorted(self.names):
                stem = os.path.splitext(name)[0]
                digits = stem[len(stem.rstrip("0123456789")) :]
                if digits:
                    self._numbers.setdefault(int(digits), name)
        return self._numbers.get(number)


def picture_folder(candidates: Sequence[Path], origin: Path) -> PictureFolder:
    """The first of `candidates` that is a folder with pictures in it.

    Raises:
        UserError: none is; names them and the option that says where the pictures are.
    """
    for candidate in candidates:
        if candidate.is_dir():
            found = PictureFolder(candidate)
            if found.names:
                return found
    places = ", ".join(str(candidate) for candidate in candidates[:4])
    raise UserError(f"{origin}: its pictures are not there (looked in {places}); set 'root' to their folder")
