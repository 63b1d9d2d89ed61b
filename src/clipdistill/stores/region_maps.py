"""Regions of a map: the image tower sees each picture once, and a region is what one of its maps holds under a box."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from clipdistill.data import ImageView
from clipdistill.data.transforms import apply
from clipdistill.errors import UserError
from clipdistill.models.feature_maps import chosen_level, pool_boxes
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.encoder import evaluating
from clipdistill.stores.region_boxes import BoxFinder, FoundRegions, geometry_of
from clipdistill.stores.region_facts import finder_facts
from clipdistill.stores.regions import region_arrays

LARGEST = float(np.finfo(np.float16).max)


@dataclass
class MapRegions:
    """Finds regions and pools them from a map of the picture (`models.feature_maps.pool_boxes`).

    Features are as the tower has them, [channels * bins * bins] a region. The whole picture is squeezed to the model's
    input, so that shares of the picture are shares of the map.

    level: which of the tower's maps; None = see `chosen_level`. batch_size: pictures the model sees at once.
    The others are those of `BoxFinder` and of `pool_boxes`.

    Raises:
        UserError: no such level, or a tower without maps.
    """

    model: Any
    device: torch.device
    provider: Any | None
    min_score: float
    max_regions: int
    level: int | None = None
    bins: int = 2
    pad: float = 1.1
    batch_size: int = 64
    detect_batch: int = 8
    whole: bool = False
    name: str = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        self.name = "annotations" if self.provider is None else self.provider.name
        self.finder = BoxFinder(self.provider, self.min_score, self.max_regions, self.detect_batch, self.whole)
        with evaluating(self.model):
            self.map = chosen_level(self.model.map_levels(), self.level, self.model.name)
        self.width = self.map.channels * self.bins**2
        self._view = replace(ImageView.from_preprocess(self.model.preprocess), resize_mode="squash")

    def arrays(self) -> list[ArraySpec]:
        """Features, geometry, shares."""
        return region_arrays(self.width)

    def facts(self, pictures: Any) -> dict[str, Any]:
        """Model, provider, level and pooling."""
        shape = f"{self.map.channels}x{self.map.height}x{self.map.width}"
        how = f"map {self.map.number} ({shape}), {self.bins}x{self.bins} bins, pad {self.pad:g}"
        return finder_facts(self.model, self.finder, self.width, how, pictures)

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
        features: list[np.ndarray] = [np.zeros((0, self.width), np.float32)]
        waiting: list[tuple[torch.Tensor, np.ndarray]] = []
        for place, image, boxes, scores, names in self.finder.found(pictures, rows, bad):
            counts[place] = len(boxes)
            labels += names
            for each, part in zip((geometry, shares), geometry_of(boxes, scores, image.size), strict=True):
                each.append(part)
            waiting.append((apply(image, None, self._view), shares[-1]))
            if len(waiting) == self.batch_size:
                features.append(self._pooled(waiting))
                waiting = []
        if waiting:
            features.append(self._pooled(waiting))
        table, parts = (np.concatenate(each).astype(np.float32) for each in (geometry, shares))
        return FoundRegions(counts, np.concatenate(features), table, parts, labels, bad)

    def _pooled(self, waiting: list[tuple[torch.Tensor, np.ndarray]]) -> np.ndarray:
        pixels = torch.stack([one for one, _ in waiting]).to(self.device)
        boxes = torch.from_numpy(np.concatenate([own for _, own in waiting])).to(self.device)
        owner = torch.repeat_interleave(torch.tensor([len(own) for _, own in waiting])).to(self.device)
        cuda = self.device.type == "cuda"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=cuda):
            maps = self.model.image_map(pixels, self.map.number)
            pooled: np.ndarray = pool_boxes(maps, boxes, owner, bins=self.bins, pad=self.pad).cpu().numpy()
        if np.abs(pooled).max(initial=0) > LARGEST:
            raise UserError(
                f"`level`: map {self.map.number} of '{self.model.name}' has numbers beyond {LARGEST:,.0f}, more than "
                "half precision holds; take another level"
            )
        return pooled
