"""Whether better teachers have better students: rank correlations within blocks of runs that differ in teacher alone.

A block is everything else that is varied, such as one student under one objective. Correlating all cells at once would
set a small student of a good teacher beside a large one of a bad teacher; so each block has a correlation of its own,
and their mean counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clipdistill.evaluate.rank_correlation import DRAWS, interval_of

LEAST = 4
"""Teachers in a block. Three have 6 orders, of which one in six is the right one by chance."""
EXACT = 8
"""Up to so many teachers all orders are counted; beyond, `DRAWS` of them are drawn."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class BlockedRanks:
    """Attributes:
    spearman, kendall: means over the blocks (Kendall's is tau-b); None where no block has one.
    spearman_interval, kendall_interval: 95 % of bootstrap draws of the teachers, the same for all blocks, and of the
        seeds of each cell.
    p: share of the orders of the teachers whose mean of Spearman's is at least as large (one-sided).
    teachers, blocks: how many there are, of blocks those that have `LEAST` teachers.
    """

    spearman: float | None
    spearman_interval: Interval | None
    kendall: float | None
    kendall_interval: Interval | None
    p: float | None
    teachers: int
    blocks: int


def kendall(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float | None:
    """Kendall's tau-b: pairs in the same order less those in the other, over the pairs that aren't tied in either.

    Returns:
        None where one side has one value only.
    """
    return _number(_kendall(np.asarray(first, np.float64), np.asarray(second, np.float64)))


def ranks_in_blocks(
    quality: Sequence[float], outcome: Sequence[Sequence[Sequence[float]]], *, draws: int = DRAWS, seed: int = 0
) -> BlockedRanks:
    """Set the teachers' own scores beside their students'.

    Args:
        quality: a number a teacher. outcome: block -> teacher -> the student's scores, one a seed; none = no such cell.
        draws: of the bootstrap, and of orders where there are too many to count. seed: of both.
    """
    x = np.asarray(quality, np.float64)
    blocks = [[np.asarray(scores, np.float64) for scores in block] for block in outcome]
    blocks = [block for block in blocks if sum(len(scores) > 0 for scores in block) >= LEAST]
    means = [np.array([scores.mean() if len(scores) else np.nan for scores in block]) for block in blocks]
    rho, tau = (_number(_over_blocks(measure, x, means)) for measure in (_spearman, _kendall))
    if rho is None:
        return BlockedRanks(None, None, None, None, None, len(x), len(blocks))
    generator = np.random.default_rng(seed)
    chosen = generator.integers(len(x), size=(draws, len(x)))
    again = [_redrawn(block, chosen, generator) for block in blocks]
    first, second = (interval_of(_over_blocks(measure, x[chosen], again)) for measure in (_spearman, _kendall))
    return BlockedRanks(rho, first, tau, second, _p_value(x, means, rho, draws, generator), len(x), len(blocks))


Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows of teachers' scores [..., T] and of their students' [..., T], NaN where there is no cell -> [...]."""


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks, ties shared; NaN where one side has one value only."""
    x, y = _known(x, y)
    a, b = _ranks(x), _ranks(y)
    count = np.maximum(np.isfinite(a).sum(axis=-1, keepdims=True), 1)
    a, b = (each - np.nansum(each, axis=-1, keepdims=True) / count for each in (a, b))
    return _divided(np.nansum(a * b, axis=-1), np.nansum(a * a, axis=-1) * np.nansum(b * b, axis=-1))


def _kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = _known(x, y)
    i, j = np.triu_indices(x.shape[-1], 1)
    one, two = np.sign(x[..., i] - x[..., j]), np.sign(y[..., i] - y[..., j])
    return _divided(np.nansum(one * two, axis=-1), np.nansum(one**2, axis=-1) * np.nansum(two**2, axis=-1))


def _known(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.broadcast_arrays(x, y)
    return np.where(np.isnan(y), np.nan, x), y


def _ranks(values: np.ndarray) -> np.ndarray:
    """As `rank_correlation.ranks`, in each row, NaN where the value is."""
    below = (values[..., None, :] < values[..., :, None]).sum(axis=-1)
    same = (values[..., None, :] == values[..., :, None]).sum(axis=-1)
    return np.where(np.isnan(values), np.nan, below + (same + 1) / 2)


def _divided(product: np.ndarray, under: np.ndarray) -> np.ndarray:
    root = np.sqrt(under)
    found: np.ndarray = np.divide(product, root, out=np.full(np.shape(product), np.nan), where=root > 0)
    return found


def _over_blocks(measure: Measure, x: np.ndarray, blocks: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over the blocks in which there is a correlation; NaN where there is none in any."""
    if not blocks:
        return np.array(np.nan)
    found = np.stack([measure(x, block) for block in blocks])
    return _divided(np.nansum(found, axis=0), np.isfinite(found).sum(axis=0).astype(np.float64) ** 2)


def _redrawn(block: list[np.ndarray], chosen: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Means [draws, T] of the chosen teachers' cells over seeds that are drawn anew; NaN where there is no cell."""
    found = np.full(chosen.shape, np.nan)
    for teacher, scores in enumerate(block):
        places = chosen == teacher
        if len(scores):
            picked = generator.integers(len(scores), size=(int(places.sum()), len(scores)))
            found[places] = scores[picked].mean(axis=1)
    return found


def _p_value(
    x: np.ndarray, means: Sequence[np.ndarray], rho: float, draws: int, generator: np.random.Generator
) -> float:
    """Of drawn orders the one at hand is counted too."""
    exact = len(x) <= EXACT
    if exact:
        orders = np.array(list(itertools.permutations(range(len(x)))))
    else:
        orders = np.argsort(generator.random((draws, len(x))), axis=1)
    reached = int((_over_blocks(_spearman, x[orders], means) >= rho - 1e-9).sum())
    return reached / len(orders) if exact else (1 + reached) / (1 + len(orders))


def _number(value: np.ndarray) -> float | None:
    return float(value) if np.isfinite(value) else None
