"""Two models' modality importance side by side: the numbers that CLIP-TD quotes, with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from clipdistill.analysis.reading import Importance
from clipdistill.report.paper import paper_facts

TEXT, VISION = 0, 1
DRAWS = 1000
"""Of the questions, for an interval."""
GAP_FACT, VISION_FACT = "gap between the importance", "importance of vision"
"""How the paper's numbers begin in `report/paper_numbers/clip_td.yaml`."""


def layer_values(heads: np.ndarray) -> np.ndarray:
    """Mean over the heads: [..., L, H, 3] -> [..., L, 3]."""
    found: np.ndarray = heads.mean(axis=-2, dtype=np.float64)
    return found


def gap(layers: np.ndarray) -> np.ndarray:
    """|text - vision| of each layer, and the mean over the layers: what figure 3 shades. [..., L, 3] -> [...]."""
    found: np.ndarray = np.abs(layers[..., TEXT] - layers[..., VISION]).mean(axis=-1)
    return found


def vision(layers: np.ndarray) -> np.ndarray:
    """Importance of vision, mean over the layers: [..., L, 3] -> [...]."""
    found: np.ndarray = layers[..., VISION].mean(axis=-1)
    return found


def quoted(before: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """What CLIP-TD quotes, as fractions, of layers' values [..., L, 3] before and after.

    `gap_reduced` = 1 - gap after / gap before; `vision_up` = vision after / vision before - 1 ("improvement of 10.6 %"
    is read as relative: with the gap's 36 % it fits a vision of 0.39 before, where text and vision make 1);
    `vision_points` is the plain difference. NaN where there is nothing to divide by.
    """
    old, new = gap(before), gap(after)
    seen, sees = vision(before), vision(after)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "gap_reduced": np.where(old > 0, 1 - new / old, np.nan),
            "vision_up": np.where(seen > 0, sees / seen - 1, np.nan),
            "vision_points": sees - seen,
        }


def compare(before: Sequence[Importance], after: Sequence[Importance]) -> dict[str, Any]:
    """Models in pairs (such as of one seed), each pair on the questions that both were asked.

    Returns:
        `pairs`: what `quoted` says of each pair, and `interval`: 95 % of draws of the questions. `mean` and `sd` over
        the pairs (sd 0 for one pair); `paper`: the printed numbers, as fractions.
    """
    pairs: list[dict[str, Any]] = []
    for one, other in zip(before, after, strict=True):
        known = set(other.ids)
        shared = [name for name in one.ids if name in known]
        first, second = (layer_values(each.of(shared).values) for each in (one, other))
        plain = {name: float(value) for name, value in quoted(first.mean(axis=0), second.mean(axis=0)).items()}
        pairs.append({**plain, "questions": len(shared), "interval": interval(first, second)})
    names = ("gap_reduced", "vision_up", "vision_points")
    return {
        "pairs": pairs,
        "mean": {name: statistics.fmean(pair[name] for pair in pairs) for name in names},
        "sd": {name: statistics.stdev(pair[name] for pair in pairs) if len(pairs) > 1 else 0.0 for name in names},
        "paper": paper_numbers(),
    }


def interval(before: np.ndarray, after: np.ndarray, draws: int = DRAWS, seed: int = 0) -> dict[str, list[float]]:
    """2.5 % and 97.5 % of `quoted` over draws of the questions with replacement, the same for both.

    before, after: layers' values of the same questions, [N, L, 3].
    """
    count = len(before)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws) / count
    means = [np.einsum("dn,nlk->dlk", drawn, each, optimize=True) for each in (before, after)]
    return {
        name: [float(bound) for bound in np.nanquantile(values, [0.025, 0.975])] if np.isfinite(values).any() else []
        for name, values in quoted(*means).items()
    }


def paper_numbers() -> dict[str, float]:
    """The paper's two numbers, as fractions."""
    facts = paper_facts("clip_td")
    names = {"gap_reduced": GAP_FACT, "vision_up": VISION_FACT}
    return {name: next(one.value for one in facts if one.what.startswith(lead)) / 100 for name, lead in names.items()}
