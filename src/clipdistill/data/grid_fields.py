"""Objects of a sample on the grid of a picture as a model sees it, for fusion models that read pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clipdistill.data.augment import AugmentRecord
from clipdistill.data.fields import Draw, Field
from clipdistill.data.sample import Sample
from clipdistill.data.transforms import ImageView


@dataclass(frozen=True)
class GridObjects(Field):
    """`object_regions` int64 [B, N]: which cell shows each of the sample's objects (`Sample.regions`), -1 = none.

    Cells are counted row by row over the picture that was drawn, cut and turned as it was (`cells_of`).

    Args:
        view: of the whole picture, squeezed to the model's size (`resize_mode` "squash"). side: cells a side.
    """

    view: ImageView
    side: int = 1

    def row(self, sample: Sample, draw: Draw) -> np.ndarray:
        """int64 [n]."""
        if sample.regions is None:
            return np.zeros(0, np.int64)
        return cells_of(seen_boxes(sample.regions.boxes, draw.size, draw.record), self.side)

    def collate(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        """Padded to the most."""
        found = torch.full((len(rows), max((len(row) for row in rows), default=0)), -1)
        for place, row in enumerate(rows):
            found[place, : len(row)] = torch.from_numpy(row)
        return found


def seen_boxes(boxes: np.ndarray, size: tuple[int, int], record: AugmentRecord | None = None) -> np.ndarray:
    """Boxes [n, 4] in pixels of a picture of `size` (width, height) -> float64, shares of what a record shows of it.

    What lies outside of the crop has shares below 0 or above 1.
    """
    left, top, right, bottom = (0.0, 0.0, *size) if record is None else record.box(*size)
    found: np.ndarray = (boxes.astype(np.float64) - [left, top, left, top]) / np.tile([right - left, bottom - top], 2)
    if record is not None and record.flip:
        found[:, [0, 2]] = 1 - found[:, [2, 0]]
    return found


def cells_of(shares: np.ndarray, side: int) -> np.ndarray:
    """The cell of a `side` x `side` grid that each box [n, 4] covers most of, int64 [n]; -1 = it covers none.

    Of cells that it covers alike (all of them, for a large box) the one nearest to its middle, and then the first.
    """
    start = np.arange(side) / side
    cells = np.stack([np.tile(start, side), np.repeat(start, side)], axis=1)  # the corner at the left and top
    low = np.maximum(shares[:, None, :2], cells[None])
    high = np.minimum(shares[:, None, 2:], cells[None] + 1 / side)
    covered = (high - low).clip(0).prod(axis=-1) * side**2
    middles = (shares[:, None, :2] + shares[:, None, 2:]) / 2
    apart = np.square(middles - cells[None] - 0.5 / side).sum(axis=-1)
    most = covered.max(axis=1, keepdims=True, initial=0.0)
    # A little less counts as alike: 1 / 3 isn't a third.
    found = np.where(covered >= most - 1e-9, apart.round(9), np.inf).argmin(axis=1)
    cell: np.ndarray = np.where(most[:, 0] > 1e-9, found, -1).astype(np.int64)
    return cell
