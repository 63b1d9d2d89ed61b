"""The regions of some pictures: which boxes are kept of those that were found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from clipdistill.data.sample import BadImage
from clipdistill.stores.arrays import ArraySpec


@dataclass(frozen=True)
class FoundRegions:
    """The regions of n pictures, one after the other, best first within each.

    counts: n numbers of regions, 0 for a picture that can't be read. features: float32 [rows, D].
    geometry: float32 [rows, 6], x1 y1 x2 y2 score area. shares: float32 [rows, 4], boxes as shares of the picture.
    labels: class names. bad: `id`, `reason` of each such picture. more: further arrays of the store, [rows, ...].
    dropped: `id`, `reason` of pictures that some boxes were left out of.
    """

    counts: list[int]
    features: np.ndarray
    geometry: np.ndarray
    shares: np.ndarray
    labels: list[str]
    bad: list[dict[str, str]]
    more: Mapping[str, np.ndarray] | None = None
    dropped: Sequence[Mapping[str, str]] = ()


class RegionMaker(Protocol):
    """What makes the regions of pictures, for a store of them.

    name: of what finds them, for people. width: of their features.
    """

    name: str
    width: int

    def arrays(self) -> list[ArraySpec]:
        """What the store holds."""
        ...

    def facts(self, pictures: Any) -> dict[str, Any]:
        """What decides the numbers besides the pictures themselves; see `stores.facts`."""
        ...

    def working(self) -> AbstractContextManager[Any]:
        """Entered while regions are made."""
        ...

    def of(self, pictures: Any, rows: range) -> FoundRegions:
        """The regions of the pictures at `rows`."""
        ...


@dataclass
class BoxFinder:
    """Finds the boxes of pictures, and keeps the surest inside of each.

    provider: see `models.regions`; None = the boxes of the data set (`Sample.regions`). detect_batch: pictures the
    provider sees at once. min_score, max_regions: as `cache_regions` takes them. whole: put the whole picture before
    them, one more than `max_regions`: what isn't in any box is seen too.
    """

    provider: Any | None
    min_score: float
    max_regions: int
    detect_batch: int = 8
    whole: bool = False

    @property
    def most(self) -> int:
        """The most regions that a picture can have."""
        return self.max_regions + self.whole

    def found(
        self, pictures: Any, rows: range, bad: list[dict[str, str]]
    ) -> Iterator[tuple[int, Image.Image, np.ndarray, np.ndarray, list[str]]]:
        """Yield (place in `rows`, picture, boxes [n, 4], scores [n], names), provider batch by provider batch.

        Pictures that can't be read are added to `bad`.
        """
        waiting: list[tuple[int, Image.Image, Any]] = []
        for place, row in enumerate(rows):
            sample = pictures[row]
            try:
                waiting.append((place, sample.image.open(), sample.regions))
            except BadImage as error:
                bad.append({"id": sample.id, "reason": str(error)})
            if waiting and (len(waiting) == self.detect_batch or row == rows[-1]):
                images = [image for _, image, _ in waiting]
                found = [own for *_, own in waiting] if self.provider is None else self.provider.find(images)
                for (where, image, _), one in zip(waiting, found, strict=True):
                    yield where, image, *self.chosen(one, image.size)
                waiting = []

    def chosen(self, found: Any | None, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The surest boxes inside the picture, best first; the whole picture when there is none."""
        if found is not None and len(found.boxes):
            width, height = size
            boxes = np.clip(np.asarray(found.boxes, np.float64), 0, [width, height, width, height])
            scores = np.asarray(found.scores, np.float64)
            keep = (scores >= self.min_score) & (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
            order = [int(k) for k in np.argsort(-scores, kind="stable") if keep[k]][: self.max_regions]
            if order:
                lead = [np.array([0.0, 0.0, *size])] if self.whole else []
                names = [found.labels[k] for k in order]
                chosen = np.stack([*lead, *boxes[order]]), np.array([1.0] * len(lead) + scores[order].tolist())
                return *chosen, ["picture"] * len(lead) + names
        return np.array([[0.0, 0.0, *size]]), np.ones(1), ["picture"]


def geometry_of(boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `geometry` [n, 6] and `shares` [n, 4] of boxes [n, 4] in a picture of (width, height)."""
    width, height = size
    areas = [min(1.0, (box[2] - box[0]) * (box[3] - box[1]) / (width * height)) for box in boxes]
    return np.column_stack([boxes, scores, areas]), boxes / [width, height, width, height]


def resting() -> AbstractContextManager[Any]:
    """`working` of what has no model."""
    return nullcontext()
