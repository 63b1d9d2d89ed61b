"""RegionStore: boxes, confidences, class names and crop embeddings of the regions of each picture, ragged, on disk.

A store is a folder: `store.json` (written last), `ids.json`, `labels.json`, `offsets.npy` (int64 [n + 1]: which rows
belong to a picture), `features.f16` [rows, D] unit vectors, `geometry.f32` [rows, 6]: x1 y1 x2 y2 score area.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.stores.arrays import ArraySpec, open_rows
from clipdistill.stores.shard_reader import AGAIN

VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredRegions:
    """The regions of one picture: boxes float32 [n, 4] in its pixels, scores float32 [n], n class names."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...]


class RegionStore:
    """Read through memory maps; see the module for what lies where.

    Attributes:
        path, meta: the folder, and what store.json says: model, provider, settings, fingerprints, `bad`.
        ids: the pictures' ids, by row. bad: ids of pictures that couldn't be read -> reason; they have no regions.
    """

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        self.path, self.meta = path, meta
        self.ids: list[str] = json.loads((path / "ids.json").read_text(encoding="utf-8"))
        self._labels: list[str] = json.loads((path / "labels.json").read_text(encoding="utf-8"))
        self.offsets: np.ndarray = np.load(path / "offsets.npy")
        rows = int(self.offsets[-1])
        self.features = open_rows(path, ArraySpec("features", rows, int(meta["embed_dim"])))
        self.geometry = open_rows(path, ArraySpec("geometry", rows, 6, "float32"))
        self.bad: dict[str, str] = {entry["id"]: entry["reason"] for entry in meta["bad"]}
        if len(self.offsets) != len(self.ids) + 1 or len(self._labels) != rows:
            raise UserError(f"{path}: its files don't fit one another; {AGAIN}")

    @classmethod
    def open(cls, path: str | Path) -> RegionStore:
        """Open a finished store.

        Raises:
            UserError: there is none, or a damaged one.
        """
        path = Path(path)
        try:
            meta = json.loads((path / "store.json").read_text(encoding="utf-8"))
            if meta["kind"] != "regions" or meta["version"] != VERSION:
                raise ValueError(f"version {meta['version']}, not {VERSION}")
            return cls(path, meta)
        except FileNotFoundError as error:
            raise UserError(f"{path}: no finished region store; run `clipdistill cache` on the recipe") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a region store ({error}); {AGAIN}") from error

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:
        return RegionStore.open, (self.path,)

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row of each id, int64; -1 for those that aren't in the store."""
        place = {name: row for row, name in enumerate(self.ids)}
        return np.fromiter((place.get(name, -1) for name in ids), np.int64, len(ids))

    def regions(self, row: int) -> StoredRegions:
        """The regions of one picture, best first."""
        at = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        geometry = np.asarray(self.geometry[at])
        return StoredRegions(geometry[:, :4], geometry[:, 4], tuple(self._labels[at]))

    def lookup(self, rows: Any, max_regions: int) -> dict[str, np.ndarray]:
        """Return the regions of pictures, padded to `max_regions`, best first.

        Args:
            rows: B integers, row numbers of `rows()`.

        Returns:
            features float32 [B, M, D], 0 where there is none; mask bool [B, M], True = a region; scores and areas
            (shares of the picture) float32 [B, M].

        Raises:
            UserError: a row that isn't there, a picture that couldn't be read when the store was written.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not (0 <= rows.min() and rows.max() < len(self.ids)):
            raise UserError(f"{self.path}: row {rows.min()}..{rows.max()} asked of {len(self.ids)} pictures; {AGAIN}")
        count = np.minimum(self.offsets[rows + 1] - self.offsets[rows], max_regions)
        if len(rows) and count.min() < 1:
            name = self.ids[int(rows[count.argmin()])]
            raise UserError(
                f"{self.path}: no regions of {name}, which couldn't be read ({self.bad.get(name)}); {AGAIN}"
            )
        slot = np.arange(max_regions)
        mask = slot[None] < count[:, None]
        index = np.where(mask, self.offsets[rows][:, None] + slot[None], self.offsets[rows][:, None])
        features = np.asarray(self.features[index], dtype=np.float32) * mask[..., None]
        geometry = np.asarray(self.geometry[index])
        return {"features": features, "mask": mask, "scores": geometry[..., 4] * mask, "areas": geometry[..., 5] * mask}
