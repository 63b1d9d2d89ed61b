"""RegionStore: boxes, confidences, class names and features of the regions of each picture, ragged, on disk.

Its arrays have as many rows a picture as it has regions, best first: `features` [rows, D] in half precision (of crops
unit vectors, else as what gave them has them), `geometry` [rows, 6] in float32: x1 y1 x2 y2 score area, and `shares`
[rows, 4] in float32: the box as shares of the picture's width and height. Class names are notes of the blocks, and so
are stamps, which tell whether a picture is still the one that was seen. Rows are found by `Mixture.picture_ids`.
Where a detector's probabilities are known, `classes` [rows, C] has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clipdistill.data.pictures import Pictures, stamp
from clipdistill.errors import UserError
from clipdistill.stores.arrays import AGAIN, ArraySpec
from clipdistill.stores.store import Store


def region_arrays(width: int, classes: int = 0) -> list[ArraySpec]:
    """What a region store holds: features of `width`, and the probabilities of a detector's classes, 0 = none."""
    ragged: dict[str, Any] = {"key": "sample", "ragged": True, "about": 4}
    return [
        ArraySpec("features", width, **ragged),
        ArraySpec("geometry", 6, dtype="float32", **ragged),
        ArraySpec("shares", 4, dtype="float32", **ragged),
        *([ArraySpec("classes", classes, **ragged)] if classes else []),
    ]


@dataclass(frozen=True, slots=True)
class StoredRegions:
    """The regions of one picture: boxes float32 [n, 4] in its pixels, scores float32 [n], n class names."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...]


class RegionStore(Store):
    """Regions of N pictures. `meta` says model, provider, settings and fingerprints; those `bad` have no regions."""

    WHAT, KIND = "region store", "regions"

    def regions(self, row: int) -> StoredRegions:
        """The regions of one picture, best first."""
        ((shard, _, local),) = self._by_shard(self.checked([row]))
        block = int(local[0]) // shard.block_rows
        # Class names lie block by block: those of this picture come after those of the pictures before it.
        (head, *_), _ = shard.layouts["geometry"].find(np.array([block * shard.block_rows]))
        (first,), (count,) = shard.layouts["geometry"].find(local)
        geometry = np.array(shard.arrays["geometry"][first : first + count])
        labels = shard.notes[block]["labels"][first - head : first - head + count]
        return StoredRegions(geometry[:, :4], geometry[:, 4], tuple(labels))

    def lacks(self, pictures: Pictures) -> str | None:
        """What of these pictures the store hasn't got, in a few words; None when it has all of them.

        Whether they are the same pictures is seen by the stamps of up to 64 of them.
        """
        if pictures.shared and self.meta.get("keys") is None:
            return "was written by an earlier version, with regions for each question and not for each picture"
        rows = self.rows(pictures.ids)
        missing = (rows < 0).nonzero()[0]
        if len(missing):
            return f"has no regions of {pictures.ids[int(missing[0])]} ({len(missing):,} are missing)"
        for place in pictures.probes() if pictures.shared else ():
            name = pictures.ids[place]
            if name not in self.bad and self.stamp(int(rows[place])) != stamp(pictures[place]):
                return f"was made of another picture {name}, or of other boxes for it"
        return None

    def stamp(self, row: int) -> str | None:
        """The stamp of one picture (`data.pictures.stamp`); None where a picture is a sample."""
        ((shard, _, local),) = self._by_shard(self.checked([row]))
        block, place = divmod(int(local[0]), shard.block_rows)
        stamps = shard.notes[block].get("stamps")
        return None if stamps is None else str(stamps[place])

    def lookup(self, rows: Any, max_regions: int) -> dict[str, np.ndarray]:
        """Return the regions of pictures, padded to `max_regions`, best first.

        Args:
            rows: B integers, row numbers of `rows()`.

        Returns:
            features float32 [B, M, D], 0 where there is none; mask bool [B, M], True = a region; scores and areas
            (shares of the picture) float32 [B, M]; boxes float32 [B, M, 4] in pixels, and, where the store has them
            (those of earlier versions have not), `shares`, boxes as shares of width and height.

        Raises:
            UserError: a row that isn't there, a picture that couldn't be read when the store was written.
        """
        rows = self.checked(rows)
        features, mask = self.padded("features", rows, max_regions)
        without = ~mask.any(axis=1)
        if without.any():
            name = self.ids[int(rows[np.argmax(without)])]
            raise UserError(
                f"{self.path}: no regions of {name}, which couldn't be read ({self.bad.get(name)}); {AGAIN}"
            )
        geometry, _ = self.padded("geometry", rows, max_regions)
        found = {"features": features, "mask": mask, "scores": geometry[..., 4], "areas": geometry[..., 5]}
        found["boxes"] = geometry[..., :4]
        if self.has_shares:
            found["shares"], _ = self.padded("shares", rows, max_regions)
        return found

    def classes(self, rows: Any, max_regions: int) -> np.ndarray:
        """The detector's class probabilities of pictures' regions, float32 [B, M, C], as `lookup` has the features.

        Raises:
            UserError: the store has none; a row that isn't there.
        """
        if not self.class_count:
            raise UserError(f"{self.path}: has no class probabilities of its regions; take a file that has some")
        return self.padded("classes", rows, max_regions)[0]

    @property
    def class_count(self) -> int:
        """C, how many classes `classes` has; 0 = there are no probabilities."""
        spec = self._shards[0].specs.get("classes")
        return 0 if spec is None else spec.width

    @property
    def dropped(self) -> dict[str, str]:
        """Pictures of which some boxes were left out -> which, where they come from files."""
        notes = (note for shard in self._shards for note in shard.notes.values())
        return {entry["id"]: entry["reason"] for note in notes for entry in note.get("dropped", ())}

    @property
    def has_shares(self) -> bool:
        """Whether boxes are there as shares of the picture."""
        return "shares" in self._shards[0].specs

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Every class name there is, by spelling."""
        return tuple(sorted({name for shard in self._shards for name in _labels(shard) if name}))

    @property
    def class_outputs(self) -> int:
        """How many numbers `class_shares` gives a region; 0 = nothing is known of classes."""
        return self.class_count or (1 + len(self.class_names) if self.class_names else 0)

    def class_shares(self, rows: Any, max_regions: int) -> np.ndarray:
        """What each region is: float32 [B, M, class_outputs] of at least 0, padded with 0.

        The detector's probabilities where the store has them; else the first is the background, the others the class
        names, and the region's own has 1. A region without a class name is background.
        """
        rows = self.checked(rows)
        if self.class_count:
            return self.classes(rows, max_regions)
        found = np.zeros((len(rows), max_regions, 1 + len(self.class_names)), np.float32)
        place = np.arange(max_regions)
        for shard, mine, local in self._by_shard(rows):
            first, count = shard.layouts["geometry"].find(local)
            there = place[None] < count[:, None]
            part = np.zeros((*there.shape, found.shape[2]), np.float32)
            part[there, self._class_numbers[shard.folder][(first[:, None] + place)[there]]] = 1
            found[mine] = part
        return found

    @cached_property
    def _class_numbers(self) -> dict[Path, np.ndarray]:
        """A shard's folder -> the class number of each of its regions, in the order of their rows; 0 = background."""
        numbers = {"": 0} | {name: 1 + place for place, name in enumerate(self.class_names)}
        return {shard.folder: np.array([numbers[name] for name in _labels(shard)], np.int64) for shard in self._shards}


def _labels(shard: Any) -> list[str]:
    """The class names of a shard's regions, in the order of their rows."""
    return [name for block in sorted(shard.notes) for name in shard.notes[block]["labels"]]


class DryRegions:
    """Stands in a forecast for a store that isn't written yet: regions of the right shape, of ten classes."""

    path, has_shares, class_outputs = "regions", True, 11
    bad: ClassVar[Mapping[str, str]] = {}

    def __init__(self, width: int, max_regions: int) -> None:
        self.width, self.meta = width, {"max_regions": max_regions, "embed_dim": width, "provider": "none"}

    def rows(self, ids: Any) -> np.ndarray:
        """A row a sample."""
        return np.arange(len(ids))

    def lookup(self, rows: Any, max_regions: int) -> dict[str, np.ndarray]:
        """Noise."""
        draw, shape = np.random.default_rng(0), (len(rows), max_regions)
        whole = np.tile(np.array([0, 0, 1, 1], np.float32), (*shape, 1))
        return {
            "features": draw.standard_normal((*shape, self.width), dtype=np.float32), "mask": np.ones(shape, bool),
            "scores": draw.random(shape, dtype=np.float32), "areas": draw.random(shape, dtype=np.float32),
            "boxes": whole, "shares": whole,
        }  # fmt: skip

    def class_shares(self, rows: Any, max_regions: int) -> np.ndarray:
        """All background."""
        return np.eye(self.class_outputs, dtype=np.float32)[np.zeros((len(rows), max_regions), np.int64)]
