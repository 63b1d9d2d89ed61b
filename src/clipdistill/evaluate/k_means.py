"""k-means by Lloyd's algorithm: seeded, with several starts."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 300


def k_means(points: Tensor, clusters: int, *, seed: int = 0, restarts: int = 10) -> tuple[Tensor, Tensor]:
    """Cluster points; of several starts (k-means++, Arthur & Vassilvitskii 2007) the tightest clustering is kept.

    It is computed in float64 on the CPU, and is a function of its arguments; torch's random state isn't touched.

    Args:
        points: float [N, D]. clusters: k. seed: of the starts. restarts: how many, at least 1.

    Returns:
        int64 [N], the cluster of each, and float64 [k, D], the clusters' means.

    Raises:
        ValueError: fewer than k different points, or one that isn't finite.
    """
    points = points.detach().to("cpu", torch.float64)
    if not points.isfinite().all():
        raise ValueError("a point isn't finite")
    different = len(points.unique(dim=0)) if len(points) else 0
    if different < clusters:
        raise ValueError(f"{different} different points don't make {clusters} clusters")
    generator = torch.Generator().manual_seed(seed)
    best: tuple[float, Tensor, Tensor] | None = None
    for _ in range(max(1, restarts)):
        assigned, centres = _lloyd(points, _start(points, clusters, generator))
        spread = float((points - centres[assigned]).square().sum())
        if best is None or spread < best[0]:
            best = (spread, assigned, centres)
    assert best is not None
    return best[1], best[2]


def nearest_centre(points: Tensor, centres: Tensor) -> Tensor:
    """The number of the centre that each point is nearest to, int64 [N].

    Args:
        points: float [N, D]. centres: float64 [k, D].
    """
    return _squared(points.detach().to("cpu", torch.float64), centres).argmin(1)


def _start(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next centre is a point drawn by its squared distance from the centres so far."""
    chosen = points[torch.randint(len(points), (1,), generator=generator)]
    while len(chosen) < clusters:
        distance = _squared(points, chosen).amin(1)
        # Drawn by the cumulated distances and not by multinomial, which takes at most 2^24 points.
        at = torch.rand(1, generator=generator, dtype=torch.float64) * distance.sum()
        place = torch.searchsorted(distance.cumsum(0), at).clamp_max(len(points) - 1)
        if distance[place] == 0:  # rounding at the end of the sums: such a point is a centre already
            place = distance.argmax()[None]
        chosen = torch.cat([chosen, points[place]])
    return chosen


def _lloyd(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    assigned = _squared(points, centres).argmin(1)
    for _ in range(ROUNDS):
        sums = torch.zeros_like(centres).index_add_(0, assigned, points)
        counts = torch.bincount(assigned, minlength=len(centres))
        # A cluster that lost its last point stays where it was.
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), centres)
        again = _squared(points, centres).argmin(1)
        if torch.equal(again, assigned):
            break
        assigned = again
    return assigned, centres


def _squared(points: Tensor, centres: Tensor) -> Tensor:
    """[N, k], one centre after the other, so that memory is that of the points."""
    return torch.stack([(points - centre).square().sum(1) for centre in centres], dim=1)
