"""The regions of some pictures: which boxes are kept, how they are cut out, and their embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from clipdistill.data import ImageView, Mixture
from clipdistill.data.sample import BadImage
from clipdistill.data.transforms import apply
from clipdistill.stores.encoder import Encoder


@dataclass(frozen=True)
class FoundRegions:
    """The regions of n pictures, one after the other, best first within each.

    counts: n numbers of regions, 0 for a picture that can't be read. features: float32 [rows, D], unit vectors.
    geometry: float32 [rows, 6], x1 y1 x2 y2 score area. shares: float32 [rows, 4], boxes as shares of the picture.
    labels: class names. bad: `id`, `reason` of each such picture.
    """

    counts: list[int]
    features: np.ndarray
    geometry: np.ndarray
    shares: np.ndarray
    labels: list[str]
    bad: list[dict[str, str]]


@dataclass
class Crops:
    """Finds and embeds regions.

    All but `crop` as `cache_regions` takes them.
    crop: "resize" takes the whole box to the model's input, whatever its shape (DCLIP, appendix A: "regions extracted
        by YOLO are cropped and resized"); "centre" treats it as a picture of its own, which most models resize by the
        shorter side and cut to the middle: of a box of 1 : 2.5 that leaves 40 %.
    """

    model: Any
    device: torch.device
    provider: Any | None
    min_score: float
    max_regions: int
    crop: Literal["resize", "centre"]
    batch_size: int
    detect_batch: int

    def __post_init__(self) -> None:
        view = ImageView.from_preprocess(self.model.preprocess)
        self._encoder = Encoder(self.model, "embedding", self.device)
        self._view = replace(view, resize_mode="squash") if self.crop == "resize" else view

    def of(self, mixture: Mixture, rows: range) -> FoundRegions:
        """The regions of the samples at `rows` of a mixture."""
        counts, labels = [0] * len(rows), []
        bad: list[dict[str, str]] = []
        geometry: list[list[float]] = []
        shares: list[np.ndarray] = []
        crops: list[torch.Tensor] = []
        features: list[np.ndarray] = [np.zeros((0, int(self.model.embed_dim)), np.float32)]
        for place, image, found in self._found(mixture, rows, bad):
            boxes, scores, names = self._chosen(found, image.size)
            counts[place] = len(boxes)
            shares.append(boxes / [image.width, image.height, image.width, image.height])
            for box, score, name in zip(boxes, scores, names, strict=True):
                share = (box[2] - box[0]) * (box[3] - box[1]) / (image.width * image.height)
                geometry.append([*box, score, min(1.0, share)])
                labels.append(name)
                left, top, right, bottom = (round(side) for side in box)
                cut = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
                crops.append(apply(cut, None, self._view))
            while len(crops) >= self.batch_size:
                features.append(self._encoder.image(torch.stack(crops[: self.batch_size]))[0])
                crops = crops[self.batch_size :]
        if crops:
            features.append(self._encoder.image(torch.stack(crops))[0])
        table = np.array(geometry, np.float32).reshape(-1, 6)
        parts = np.concatenate([np.zeros((0, 4)), *shares]).astype(np.float32)
        return FoundRegions(counts, np.concatenate(features), table, parts, labels, bad)

    def _found(
        self, mixture: Mixture, rows: range, bad: list[dict[str, str]]
    ) -> Iterator[tuple[int, Image.Image, Any]]:
        """Yield (place in `rows`, picture, what was found), provider batch by provider batch."""
        waiting: list[tuple[int, Image.Image, Any]] = []
        for place, row in enumerate(rows):
            sample = mixture[row]
            try:
                waiting.append((place, sample.image.open(), sample.regions))
            except BadImage as error:
                bad.append({"id": sample.id, "reason": str(error)})
            if waiting and (len(waiting) == self.detect_batch or row == rows[-1]):
                images = [image for _, image, _ in waiting]
                found = [own for *_, own in waiting] if self.provider is None else self.provider.find(images)
                for (where, image, _), one in zip(waiting, found, strict=True):
                    yield where, image, one
                waiting = []

    def _chosen(self, found: Any | None, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The surest boxes inside the picture, best first; the whole picture when there is none."""
        if found is not None and len(found.boxes):
            width, height = size
            boxes = np.clip(np.asarray(found.boxes, np.float64), 0, [width, height, width, height])
            scores = np.asarray(found.scores, np.float64)
            keep = (scores >= self.min_score) & (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
            order = [int(k) for k in np.argsort(-scores, kind="stable") if keep[k]][: self.max_regions]
            if order:
                return boxes[order], scores[order], [found.labels[k] for k in order]
        return np.array([[0.0, 0.0, *size]]), np.ones(1), ["picture"]
