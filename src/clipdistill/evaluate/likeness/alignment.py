"""Alignment and uniformity of embeddings on the sphere (Wang and Isola 2020, section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def alignment(image: Tensor, text: Tensor, alpha: float = 2.0) -> float:
    """E ||f(x) - f(y)||^alpha over pairs that belong together: 0 where they fall together, 4 where they are opposite.

    Args:
        image, text: [n, D] of any length; row i of both is a pair. They are taken at length 1.
    """
    one, two = (F.normalize(each.double(), dim=1) for each in (image, text))
    return float((one - two).norm(dim=1).pow(alpha).mean())


def uniformity(embeddings: Tensor, t: float = 2.0, chunk: int = 1024) -> float:
    """log E exp(-t ||f(x) - f(y)||^2) over all pairs of different rows: lower = more evenly spread, 0 = one point.

    Args:
        embeddings: [n, D] of any length, taken at length 1; n at least 2, else NaN. chunk: rows compared at once.
    """
    points = F.normalize(embeddings.double(), dim=1)
    n = len(points)
    if n < 2:
        return float("nan")
    total = points.new_zeros(())
    for start in range(0, n, chunk):
        rows = points[start : start + chunk]
        distance = (2 - 2 * rows @ points.T).clamp(min=0)  # rounding can take equal ones below 0
        total += torch.exp(-t * distance).sum()
        total -= torch.exp(-t * distance[torch.arange(len(rows)), torch.arange(start, start + len(rows))]).sum()
    return float(torch.log(total / (n * (n - 1))))
