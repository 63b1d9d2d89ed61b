"""How well a forecast ordered the cells that were then trained: Spearman's rank correlation, and beside the baselines.

A cell is one teacher (for one student on one data set) with the scores of the students trained from it, one a seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clipdistill.errors import UserError

BASELINES = ("accuracy", "parameters")
"""What every score has to beat: the teacher's own accuracy, and its size."""
DRAWS = 2000
EXACT = 8
"""Up to so many cells all orders are counted; beyond, `DRAWS` of them are drawn."""


@dataclass(frozen=True)
class RankCorrelation:
    """Attributes:
    rho: Spearman's, ties shared; None where one side is the same for all cells.
    interval: 95 % of bootstrap draws of the cells, and of the seeds within each; None for fewer than 4 cells.
    p: share of all orders of the cells whose rho is at least as large (one-sided). Its least value is about 1 / cells!,
        so that 3 cells never say more than 0.17. None where rho is.
    cells: how many there are.
    """

    rho: float | None
    interval: tuple[float, float] | None
    p: float | None
    cells: int


def ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Ranks from 1 for the smallest, float64 [n]; equal values share the mean of their places."""
    array = np.asarray(values, np.float64)
    below = (array[None] < array[:, None]).sum(axis=1)
    same = (array[None] == array[:, None]).sum(axis=1)
    found: np.ndarray = below + (same + 1) / 2
    return found


def spearman(forecast: Sequence[float] | np.ndarray, outcome: Sequence[float] | np.ndarray) -> float | None:
    """Pearson's correlation of the ranks; None where either side has one value only."""
    return _pearson(ranks(forecast), ranks(outcome))


def rank_correlation(
    forecast: Sequence[float], outcome: Sequence[float | Sequence[float]], *, draws: int = DRAWS, seed: int = 0
) -> RankCorrelation:
    """Set what was forecast of cells beside what came of them.

    Args:
        forecast: a number a cell, larger = better. outcome: a number a cell, or its seeds, whose mean counts.
        draws: of the bootstrap, and of orders where there are too many to count. seed: of both.

    Raises:
        UserError: fewer than 2 cells, lists of different lengths, a cell without seeds, or a number that isn't finite.
    """
    seeds = _checked(forecast, outcome)
    means = np.array([each.mean() for each in seeds])
    first, second = ranks(forecast), ranks(means)
    rho = _pearson(first, second)
    p = None if rho is None else _p_value(first, second, rho, draws, seed)
    drawn = _bootstrap([np.asarray(forecast, np.float64)], seeds, draws, seed)[0] if len(seeds) > 3 else np.array([])
    return RankCorrelation(rho, interval_of(drawn), p, len(seeds))


def against_baselines(
    scores: Mapping[str, Mapping[str, float | None]],
    outcome: Mapping[str, float | Sequence[float]],
    *,
    baselines: Sequence[str] = BASELINES,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Each score's correlation with what came of the cells, and what it adds to each baseline.

    Args:
        scores: name -> cell -> value, larger = better; the baselines are among them as far as they are known. A score
            that lacks a cell of the outcome isn't compared.
        outcome: cell -> the student's score, or one a seed.

    Returns:
        A row a score, as JSON has it: `score`, `rho`, `interval`, `p`, `cells`, and `against`: baseline ->
        `difference` of the two rho with its 95 % `interval` (the same draws for both), `disputed` (pairs of cells that
        the two order differently; where they agree a score earns nothing) and `won` (those that the score has right,
        by the outcome's means). A score with missing cells has rho None and `missing`.

    Raises:
        UserError: as `rank_correlation`.
    """
    cells = list(outcome)
    seeds = _checked([0.0] * len(cells), [outcome[cell] for cell in cells])
    whole = {
        name: np.array([of[cell] for cell in cells], np.float64)
        for name, of in scores.items() if all(of.get(cell) is not None for cell in cells)
    }  # fmt: skip
    drawn: dict[str, np.ndarray] = {}
    if len(cells) > 3:
        drawn = dict(zip(whole, _bootstrap(list(whole.values()), seeds, draws, seed), strict=True))
    rows: list[dict[str, Any]] = []
    for name, of in scores.items():
        if name not in whole:
            missing = [cell for cell in cells if of.get(cell) is None]
            rows.append({"score": name, "rho": None, "interval": None, "p": None, "cells": len(cells),
                         "missing": missing, "against": {}})  # fmt: skip
            continue
        found = rank_correlation(whole[name].tolist(), [each.tolist() for each in seeds], draws=draws, seed=seed)
        against = {
            other: _beside(whole[name], whole[other], seeds, drawn.get(name), drawn.get(other))
            for other in baselines if other in whole and other != name
        }  # fmt: skip
        rows.append({"score": name, **asdict(found), "missing": [], "against": against})
    return rows


def _beside(
    score: np.ndarray, baseline: np.ndarray, seeds: list[np.ndarray], mine: np.ndarray | None, other: np.ndarray | None
) -> dict[str, Any]:
    means = np.array([each.mean() for each in seeds])
    first, second = spearman(score, means), spearman(baseline, means)
    disputed = won = 0
    for a, b in itertools.combinations(range(len(means)), 2):
        ordered = np.sign(score[a] - score[b])
        if ordered * np.sign(baseline[a] - baseline[b]) < 0:
            disputed += 1
            won += int(ordered == np.sign(means[a] - means[b]))
    return {
        "difference": None if first is None or second is None else first - second,
        "interval": None if mine is None or other is None else interval_of(mine - other),
        "disputed": disputed,
        "won": won,
    }


def _bootstrap(forecasts: list[np.ndarray], seeds: list[np.ndarray], draws: int, seed: int) -> list[np.ndarray]:
    """rho of each forecast over draws of the cells, and of the seeds of each cell drawn; NaN where there is none."""
    generator = np.random.default_rng(seed)
    found = np.full((len(forecasts), draws), np.nan)
    for draw in range(draws):
        chosen = generator.integers(len(seeds), size=len(seeds))
        means = np.array([generator.choice(seeds[cell], len(seeds[cell])).mean() for cell in chosen])
        for number, forecast in enumerate(forecasts):
            rho = spearman(forecast[chosen], means)
            found[number, draw] = np.nan if rho is None else rho
    return list(found)


def interval_of(drawn: np.ndarray) -> tuple[float, float] | None:
    """95 % of the draws that gave a number; None where none did."""
    kept = drawn[np.isfinite(drawn)]
    if len(kept) == 0:
        return None
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)


def _p_value(first: np.ndarray, second: np.ndarray, rho: float, draws: int, seed: int) -> float:
    """Share of orders with a rho as large; of drawn orders the one at hand is counted too."""
    near = rho - 1e-9  # what rounding does
    if len(first) <= EXACT:
        orders = np.array(list(itertools.permutations(range(len(first)))))
        return float(np.mean(_many(first, second[orders]) >= near))
    generator = np.random.default_rng(seed)
    orders = np.argsort(generator.random((draws, len(first))), axis=1)
    return float((1 + np.sum(_many(first, second[orders]) >= near)) / (1 + draws))


def _many(first: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Pearson of one row with many that are orders of one another."""
    a, b = first - first.mean(), seconds - seconds.mean(axis=1, keepdims=True)
    found: np.ndarray = b @ a / math.sqrt(float(a @ a) * float(b[0] @ b[0]))
    return found


def _pearson(first: np.ndarray, second: np.ndarray) -> float | None:
    a, b = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else None


def _checked(forecast: Sequence[float], outcome: Sequence[float | Sequence[float]]) -> list[np.ndarray]:
    if len(forecast) != len(outcome) or len(forecast) < 2:
        raise UserError(
            f"rank correlation: {len(forecast)} forecasts and {len(outcome)} outcomes; give 2 cells or more"
        )
    seeds = [np.atleast_1d(np.asarray(each, np.float64)) for each in outcome]
    if any(len(each) == 0 for each in seeds) or not all(
        np.isfinite(each).all() for each in (*seeds, np.array(forecast))
    ):
        raise UserError("rank correlation: a cell has no score, or one that isn't finite; leave it out")
    return seeds
