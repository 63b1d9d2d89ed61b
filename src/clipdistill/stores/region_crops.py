"""Regions as crops: each box is cut out, resized and embedded as a picture of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from clipdistill.data import ImageView
from clipdistill.data.transforms import apply
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.encoder import Encoder, evaluating
from clipdistill.stores.region_boxes import BoxFinder, FoundRegions, geometry_of
from clipdistill.stores.region_facts import finder_facts
from clipdistill.stores.regions import region_arrays


@dataclass
class Crops:
    """Finds regions and embeds their crops; features are unit vectors in the model's embedding space.

    crop: "resize" takes the whole box to the model's input, whatever its shape (DCLIP, appendix A: "regions extracted
        by YOLO are cropped and resized"); "centre" treats it as a picture of its own, which most models resize by the
        shorter side and cut to the middle: of a box of 1 : 2.5 that leaves 40 %.
    batch_size: crops the model encodes at once. The others are those of `BoxFinder`.
    """

    model: Any
    device: torch.device
    provider: Any | None
    min_score: float
    max_regions: int
    crop: Literal["resize", "centre"] = "resize"
    batch_size: int = 64
    detect_batch: int = 8
    whole: bool = False
    name: str = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        self.name = "annotations" if self.provider is None else self.provider.name
        self.width = int(self.model.embed_dim)
        self.finder = BoxFinder(self.provider, self.min_score, self.max_regions, self.detect_batch, self.whole)
        view = ImageView.from_preprocess(self.model.preprocess)
        self._encoder = Encoder(self.model, "embedding", self.device)
        self._view = replace(view, resize_mode="squash") if self.crop == "resize" else view

    def arrays(self) -> list[ArraySpec]:
        """Features, geometry, shares."""
        return region_arrays(self.width)

    def facts(self, pictures: Any) -> dict[str, Any]:
        """Model, provider and how boxes become pictures."""
        return finder_facts(self.model, self.finder, self.width, self.crop, pictures)

    def working(self) -> AbstractContextManager[Any]:
        """The model in evaluation mode, on the device."""
        self.model.to(self.device)
        return evaluating(self.model)

    def of(self, pictures: Any, rows: range) -> FoundRegions:
        """The regions of the pictures at `rows`."""
        counts, labels = [0] * len(rows), []
        bad: list[dict[str, str]] = []
        geometry: list[np.ndarray] = [np.zeros((0, 6))]
        shares: list[np.ndarray] = [np.zeros((0, 4))]
        crops: list[torch.Tensor] = []
        features: list[np.ndarray] = [np.zeros((0, self.width), np.float32)]
        for place, image, boxes, scores, names in self.finder.found(pictures, rows, bad):
            counts[place] = len(boxes)
            labels += names
            for each, part in zip((geometry, shares), geometry_of(boxes, scores, image.size), strict=True):
                each.append(part)
            for box in boxes:
                left, top, right, bottom = (round(side) for side in box)
                cut = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
                crops.append(apply(cut, None, self._view))
            while len(crops) >= self.batch_size:
                features.append(self._encoder.image(torch.stack(crops[: self.batch_size]))[0])
                crops = crops[self.batch_size :]
        if crops:
            features.append(self._encoder.image(torch.stack(crops))[0])
        table, parts = (np.concatenate(each).astype(np.float32) for each in (geometry, shares))
        return FoundRegions(counts, np.concatenate(features), table, parts, labels, bad)
