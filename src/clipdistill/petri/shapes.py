"""Signed distance functions of the shapes: negative inside, in units of the radius of the circle around the shape.

Each takes coordinates x (right) and y (down) in the object's own frame, tensors of any one shape, and returns the
distance there. Only +, *, min, max, abs and square roots are used: they round the same way on every machine and for
every chunking, which transcendental functions don't.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from clipdistill.petri.vocabulary import SHAPES


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt() - 1.0


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.72


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    side = math.sqrt(0.75)
    return torch.maximum(x.abs() * side - y * 0.5, y) - 0.5


def _diamond(x: Tensor, y: Tensor) -> Tensor:
    return (x.abs() / 0.7 + y.abs() - 1.0) / math.hypot(1 / 0.7, 1.0)


def _star(x: Tensor, y: Tensor) -> Tensor:
    # A five-pointed star is where at most one of a pentagon's five edges is crossed: the second largest distance.
    first = torch.full_like(x, -9.0)
    second = first
    for k in range(5):
        angle = math.pi / 2 + 2 * math.pi * k / 5
        distance = x * math.cos(angle) + y * math.sin(angle)
        second = torch.maximum(second, torch.minimum(first, distance))
        first = torch.maximum(first, distance)
    return second - 0.309


def _heart(x: Tensor, y: Tensor) -> Tensor:
    # A square standing on its corner, with a half circle on each of its two upper sides.
    x, y = x.abs(), y - 0.12
    half = 0.54
    square = torch.maximum((x + y).abs(), (x - y).abs()) * math.sqrt(0.5) - half
    cx, cy = x - half * math.sqrt(0.5), y + half * math.sqrt(0.5)
    return torch.minimum(square, (cx * cx + cy * cy).sqrt() - half)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.abs(), y.abs()
    return torch.minimum(torch.maximum(x - 0.33, y - 0.94), torch.maximum(x - 0.94, y - 0.33))


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return ((x * x + y * y).sqrt() - 0.7).abs() - 0.3


def _moon(x: Tensor, y: Tensor) -> Tensor:
    bite = x - 0.55
    return torch.maximum((x * x + y * y).sqrt() - 1.0, 0.85 - (bite * bite + y * y).sqrt())


def _arrow(x: Tensor, y: Tensor) -> Tensor:
    y = y.abs()
    shaft = torch.maximum((x + 0.4).abs() - 0.55, y - 0.28)
    slope = math.hypot(0.8, 1.0)
    head = torch.maximum(-x, (0.8 * x + y - 0.8) / slope)
    return torch.minimum(shaft, head)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "moon": _moon,
    "arrow": _arrow,
}


@lru_cache(maxsize=len(SHAPES))
def outline(shape: str) -> np.ndarray:
    """Return float64 [720, 2]: in each of 720 directions the farthest point of `shape` from its centre, in radii.

    These are the outermost points, so their smallest and largest coordinates after any rotation are the shape's box.
    Directions that meet nothing give the centre.
    """
    angles = np.arange(720) * (2 * math.pi / 720)
    radii = torch.arange(1100, -1, -1, dtype=torch.float64) / 1000
    x = torch.from_numpy(np.cos(angles))[:, None] * radii
    y = torch.from_numpy(np.sin(angles))[:, None] * radii
    inside = DISTANCES[shape](x, y) <= 1e-9
    first = torch.where(inside.any(1), inside.int().argmax(1), len(radii) - 1)
    reach = radii[first].numpy()
    return np.stack([np.cos(angles) * reach, np.sin(angles) * reach], axis=1)


@lru_cache(maxsize=len(SHAPES))
def area(shape: str) -> float:
    """Return the area of `shape` in squared radii (from a fine grid)."""
    axis = (torch.arange(440, dtype=torch.float64) + 0.5) / 200 - 1.1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return float((DISTANCES[shape](x, y) <= 0).double().mean() * 2.2**2)
