"""Regions from files of features that others made: chosen as UNITER chooses them, and kept as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from clipdistill.data.decode import ORIGINAL_SIZE
from clipdistill.data.region_files import BadRecord, Names, Record, RegionFile
from clipdistill.data.sample import BadImage
from clipdistill.errors import UserError
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.region_boxes import FoundRegions, resting
from clipdistill.stores.regions import region_arrays

LARGEST = float(np.finfo(np.float16).max)
TRIED = 100
"""Records that are read to learn how wide features are, where the first are broken."""


class FileRegions:
    """Takes the regions of pictures from a file.

    Kept are the surest, as UNITER keeps them (its `conf_th`, `min_bb`, `max_bb`): as many as have a confidence above
    `min_score`, but at least `min_regions` and at most `max_regions`; all up to `max_regions` where the file has no
    confidences. A box over the picture's edge is cut to it; one that lies outside, or has no area, is dropped and noted
    with its picture. A picture is bad without a record, with a broken one, or with features of another width than the
    first's. The detector's class probabilities are kept where the file has them.

    Args:
        file: see `data.region_files`. keys: picture id -> record, where `Names` can't tell.

    Raises:
        UserError: no record that can be read.
    """

    def __init__(
        self,
        file: RegionFile,
        layout: str,
        *,
        min_score: float = 0.2,
        min_regions: int = 10,
        max_regions: int = 100,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.file, self.layout, self.name = file, layout, f"files, {layout}"
        self.min_score, self.min_regions, self.max_regions = min_score, min(min_regions, max_regions), max_regions
        self.names = Names(file.names, keys)
        first = self._first()
        self.width = int(first.features.shape[1])
        self.classes = 0 if first.classes is None else int(first.classes.shape[1])
        self._known: tuple[Any, list[str | None]] = (None, [])

    def arrays(self) -> list[ArraySpec]:
        """Features, geometry, shares, and the classes' probabilities where there are some."""
        return region_arrays(self.width, self.classes)

    def facts(self, pictures: Any) -> dict[str, Any]:  # noqa: ARG002 - which pictures they are is told apart elsewhere
        """File, layout and what is kept."""
        keys = hashlib.sha256(json.dumps(sorted(self.names.keys.items())).encode()).hexdigest()[:8]
        return {
            "teacher": self.file.path.name, "teacher_fingerprint": self.file.key, "embed_dim": self.width,
            "provider": "files", "provider_key": f"{self.layout}-{self.file.key}-{keys}", "min_score": self.min_score,
            "max_regions": self.max_regions, "crop": f"as in the file, {self.min_regions} at least",
        }  # fmt: skip

    def working(self) -> AbstractContextManager[Any]:
        """Nothing to prepare."""
        return resting()

    def check(self, pictures: Any, max_bad_share: float) -> None:
        """Raise a UserError when too many of the pictures have no record; names the first."""
        missing = [one for one, name in zip(pictures.ids, self._records(pictures), strict=True) if name is None]
        if len(missing) > max_bad_share * len(pictures):
            some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise UserError(
                f"{self.file.path}: has no features of {len(missing):,} of {len(pictures):,} pictures ({some}), more "
                f"than data.max_bad_share = {max_bad_share:g}; its records are called {self.file.names[0]} and the "
                "like: give `keys`, a JSON of picture -> record, or another file"
            )

    def of(self, pictures: Any, rows: range) -> FoundRegions:
        """The regions of the pictures at `rows`."""
        counts: list[int] = []
        labels: list[str] = []
        bad: list[dict[str, str]] = []
        dropped: list[dict[str, str]] = []
        parts: list[dict[str, np.ndarray]] = [self._none()]
        names = self._records(pictures)
        for row in rows:
            picture = pictures.ids[row]
            try:
                if names[row] is None:
                    raise BadRecord(f"no features of it in {self.file.path.name}")
                kept, own, outside = self._one(self.file.read(str(names[row])), pictures[row])
            except (BadRecord, BadImage) as error:
                bad.append({"id": picture, "reason": str(error)})
                counts.append(0)
                continue
            if outside:
                dropped.append({"id": picture, "reason": outside})
            parts.append(kept)
            labels += own
            counts.append(len(own))
        found = {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in parts[0]}
        more = {"classes": found["classes"]} if self.classes else None
        return FoundRegions(counts, found["features"], found["geometry"], found["shares"], labels, bad, more, dropped)

    def _records(self, pictures: Any) -> list[str | None]:
        if self._known[0] is not pictures:
            self._known = (pictures, self.names.of(pictures.ids))
        return self._known[1]

    def _one(self, record: Record, sample: Any) -> tuple[dict[str, np.ndarray], list[str], str]:
        """Arrays of the regions that are kept, their labels, and which boxes were dropped, in words ("" = none)."""
        count, width = record.features.shape
        if width != self.width:
            raise BadRecord(f"features of a width of {width:,}, and the file's first have {self.width:,}")
        if np.abs(record.features).max() > LARGEST:
            raise BadRecord(f"features beyond {LARGEST:,.0f}, more than half precision holds")
        if (0 if record.classes is None else record.classes.shape[1]) != self.classes:
            raise BadRecord(f"no probabilities of {self.classes:,} classes, which the file's first record has")
        size = np.array(_size(sample) if record.size in (None, (1.0, 1.0)) else record.size)
        shares = record.boxes / (size if record.size is None else np.array(record.size))[[0, 1, 0, 1]]
        cut = shares.clip(0, 1)
        empty = (cut[:, 2] <= cut[:, 0]) | (cut[:, 3] <= cut[:, 1])
        if empty.all():
            raise BadRecord(f"none of its {count} boxes lies inside of the {size[0]:g} x {size[1]:g} picture")
        scores = np.ones(count) if record.scores is None else np.asarray(record.scores, np.float32)
        order = np.argsort(-scores, kind="stable")
        order = order[~empty[order]]
        sure = len(order) if record.scores is None else int((scores[order] > np.float32(self.min_score)).sum())
        order = order[: max(1, min(max(sure, self.min_regions), self.max_regions))]
        shares, pixels = cut[order], cut[order] * size[[0, 1, 0, 1]]
        areas = (shares[:, 2:] - shares[:, :2]).prod(axis=1)
        kept = {
            "features": record.features[order], "shares": shares,
            "geometry": np.column_stack([pixels, scores[order], areas]),
        }  # fmt: skip
        if self.classes and record.classes is not None:
            kept["classes"] = record.classes[order]
        outside = ""
        if empty.any():
            corners = ", ".join(f"{value:g}" for value in record.boxes[int(np.argmax(empty))])
            outside = (
                f"{int(empty.sum())} of {count} boxes outside of the picture, or without area, such as ({corners})"
            )
        names = record.labels or ("region",) * count
        return kept, [names[row] for row in order], outside

    def _none(self) -> dict[str, np.ndarray]:
        none = {"features": self.width, "geometry": 6, "shares": 4} | (
            {"classes": self.classes} if self.classes else {}
        )
        return {name: np.zeros((0, width)) for name, width in none.items()}

    def _first(self) -> Record:
        why = "it is empty"
        for name in self.file.names[:TRIED]:
            try:
                return self.file.read(name)
            except BadRecord as error:
                why = f"{name}: {error}"
        raise UserError(f"{self.file.path}: no record can be read ({why}); is it of layout {self.layout}?")


def _size(sample: Any) -> tuple[int, int]:
    """(width, height) of a sample's picture, decoded as small as its format allows."""
    image = sample.image.open(1)
    found: tuple[int, int] = image.info.get(ORIGINAL_SIZE, image.size)
    return found
