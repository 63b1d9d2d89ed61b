"""The regions of pictures as a fusion model reads them, and which of them shows what a text names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clipdistill.data.boxes import overlaps
from clipdistill.data.fields import Draw, Regions
from clipdistill.data.sample import Sample
from clipdistill.errors import UserError

OVERLAP = 0.99
"""Of a box with itself, whatever is lost in writing it down."""


class FusionRegions(Regions):
    """What `Regions` gives, and `region_boxes` float32 [B, M, 4], x1 y1 x2 y2 as shares of the picture's sides, and
    `object_regions` int64 [B, N], which region shows each of the sample's objects (`Sample.regions`), -1 = none.

    Where the regions are the data's own boxes, that is the very box; else the region that overlaps it most (by
    intersection over union).

    Args:
        data: a mixture with `regions`. width: of the features that the model takes; None = any.

    Raises:
        UserError: it has none, lacks those of a sample, or has features of another width.
    """

    def __init__(self, data: Any, width: int | None = None) -> None:
        super().__init__(data)
        found = int(self.store.meta["embed_dim"])
        if width is not None and found != width:
            raise UserError(
                f"`regions`: its features have a width of {found}, and `student.model` takes {width}; name another "
                "`regions.model`, or a student made for these"
            )
        if not self.store.has_shares:
            raise UserError(
                f"{self.store.path}: was written by an earlier version, without boxes as shares of the picture; delete "
                "it and run again"
            )
        self.least = OVERLAP if self.store.meta["provider"] == "annotations" else 0.0

    def row(self, sample: Sample, draw: Draw) -> Any:
        """Where the store has them, and the boxes of the sample's objects."""
        boxes = np.zeros((0, 4), np.float32) if sample.regions is None else sample.regions.boxes
        return super().row(sample, draw), boxes

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Looked up together."""
        entries = super().collate([row for row, _ in rows])
        found = self.store.lookup(np.asarray([row for row, _ in rows]), self.max_regions)
        objects = np.full((len(rows), max(len(boxes) for _, boxes in rows)), -1, np.int64)
        for place, (_, boxes) in enumerate(rows):
            shared = overlaps(boxes, found["boxes"][place]) * found["mask"][place]
            if len(boxes):
                best = shared.argmax(axis=1)
                objects[place, : len(boxes)] = np.where(shared.max(axis=1) > self.least, best, -1)
        entries["region_boxes"] = torch.as_tensor(found["shares"])
        entries["object_regions"] = torch.as_tensor(objects)
        return entries
