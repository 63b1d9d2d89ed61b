"""Regions without a detector: a grid, and the whole picture (the paper's "no YOLO")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from clipdistill.errors import UserError
from clipdistill.models.regions.found import Found


class Grid:
    """`rows` x `columns` equal cells, row by row, each with confidence 1."""

    def __init__(self, rows: int = 2, columns: int = 2) -> None:
        if not all(isinstance(n, int) and n >= 1 for n in (rows, columns)):
            raise UserError(f"`rows`, `columns`: a grid of {rows!r} x {columns!r} has no cells; give whole numbers")
        self.rows, self.columns = rows, columns
        self.name = f"grid {rows} x {columns}"
        self.key = f"grid-{rows}-{columns}"

    def find(self, images: Sequence[Image.Image]) -> list[Found]:
        """The cells of each picture."""
        return [self._cells(*image.size) for image in images]

    def _cells(self, width: int, height: int) -> Found:
        x, y = np.linspace(0, width, self.columns + 1), np.linspace(0, height, self.rows + 1)
        boxes = [(x[c], y[r], x[c + 1], y[r + 1]) for r in range(self.rows) for c in range(self.columns)]
        count = len(boxes)
        return Found(np.array(boxes, dtype=np.float32), np.ones(count, np.float32), ("cell",) * count)


class Whole(Grid):
    """The whole picture as its one region."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.name = self.key = "whole"

    def find(self, images: Sequence[Image.Image]) -> list[Found]:
        """One box a picture."""
        return [Found(one.boxes, one.scores, ("picture",)) for one in super().find(images)]
