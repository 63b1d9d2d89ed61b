"""Boxes against boxes."""

from __future__ import annotations

import numpy as np


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [n, 4] and [m, 4] -> [n, m]; 0 where a box has no area."""
    first, second = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = sides.clip(0).prod(axis=-1)
    areas = sum((each[..., 2:] - each[..., :2]).clip(0).prod(axis=-1) for each in (first, second))
    found: np.ndarray = np.divide(shared, areas - shared, out=np.zeros_like(shared), where=shared > 0)
    return found
