"""Data that stands in the forecast for what an earlier stage is still to make."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from clipdistill.data import Mixture
from clipdistill.runs.parts import Parts
from clipdistill.runs.stages.regions import region_spec


class DryRegions:
    """Regions that nobody has found yet, of the right shape; see `stores.regions.RegionStore`."""

    path = "regions"

    def __init__(self, width: int, max_regions: int) -> None:
        self.width, self.meta = width, {"max_regions": max_regions}

    def rows(self, ids: Any) -> np.ndarray:
        """A row a sample."""
        return np.arange(len(ids))

    def lookup(self, rows: Any, max_regions: int) -> dict[str, np.ndarray]:
        """Noise."""
        draw, shape = np.random.default_rng(0), (len(rows), max_regions)
        return {
            "features": draw.standard_normal((*shape, self.width), dtype=np.float32), "mask": np.ones(shape, bool),
            "scores": draw.random(shape, dtype=np.float32), "areas": draw.random(shape, dtype=np.float32),
        }  # fmt: skip


def dry_regions(parts: Parts) -> Mixture:
    """The training data with regions of the right shape."""
    mixture = copy(parts.data.mixture)
    mixture.regions = DryRegions(int(parts.model.embed_dim), region_spec(parts.recipe).max_regions)
    return mixture
