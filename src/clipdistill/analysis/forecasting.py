"""From embeddings to a teacher's scores: its own, those that depend on the student, means over seeds, ranks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from clipdistill.analysis.evidence import log_evidence, principal
from clipdistill.analysis.teachability import Ridge, cka, margin_entropy, neighbour_agreement, ridge_fit
from clipdistill.analysis.told import Items, Told
from clipdistill.data.draws import uniforms
from clipdistill.evaluate.rank_correlation import ranks
from clipdistill.evaluate.retrieval import retrieval_metrics

SCORES = ("accuracy", "parameters", "reached", "ridge_r2", "cka", "neighbours", "logme", "margin_entropy")
"""In the order of the table; the first two are the baselines."""
SMALLER_IS_BETTER = ("margin_entropy",)
PARTS = (0.6, 0.8)
"""Pictures below the first share are fitted, below the second choose the penalty, the others are held out."""

Scores = dict[str, float | None]


class Pairs:
    """The pictures that all models could read, and their captions.

    readable: bool [N] over the items. pictures, captions: int [M]: places among the readable pictures, and in `texts`.
    """

    def __init__(self, items: Items, readable: np.ndarray) -> None:
        kept = readable[items.pictures]
        self.readable = readable
        self.pictures = (np.cumsum(readable) - 1)[items.pictures[kept]]
        self.captions = items.captions[kept]

    def of(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs of some pictures alone: places in `pictures`, and captions."""
        place = np.full(int(self.readable.sum()), -1)
        place[pictures] = np.arange(len(pictures))
        kept = place[self.pictures] >= 0
        return place[self.pictures[kept]], self.captions[kept]


def parts_of(names: Sequence[str], seed: int) -> np.ndarray:
    """0 = fitted, 1 = chooses, 2 = held out, of each picture by its id: no other picture has a say."""
    drawn = [uniforms(seed, "rank-teachers", name)[0] for name in names]
    found: np.ndarray = np.searchsorted(PARTS, drawn, side="right")
    return found


def own_scores(told: Told, pairs: Pairs) -> Scores:
    """What a teacher says without a student: recall@1 among all pictures (mean of both directions), and its doubt."""
    if told.text is None or not len(pairs.pictures):
        return {"accuracy": None, "margin_entropy": None}
    image = told.image[pairs.readable]
    found = _retrieval(image, told.text, pairs.pictures, pairs.captions)
    recall = (found["text_to_image/recall@1"] + found["image_to_text/recall@1"]) / 2
    doubt = margin_entropy(image, told.text, pairs.pictures, pairs.captions, told.scale)
    return {"accuracy": recall, "margin_entropy": doubt}


def student_scores(
    features: np.ndarray, told: Told, pairs: Pairs, parts: np.ndarray, neighbours: int, shared: int
) -> Scores:
    """Scores of a teacher that depend on the student.

    Args:
        features: of the student, [N, D]; parts: int [N], over the items as `told`.
        shared: width that every teacher has; `logme` is of so many components, `logme_own` of all that it has.
    """
    x, y, own_parts = features[pairs.readable], told.image[pairs.readable], parts[pairs.readable]
    fit = ridge_fit(x, y, own_parts)
    return {
        "reached": _reached(fit, told, pairs), "ridge_r2": fit.r2, "ridge_penalty": fit.penalty, "cka": cka(x, y),
        "neighbours": neighbour_agreement(x, y, neighbours),
        "logme": log_evidence(x, principal(y, shared)), "logme_own": log_evidence(x, y),
    }  # fmt: skip


def _reached(fit: Ridge, told: Told, pairs: Pairs) -> float | None:
    """Mean reciprocal rank, of both directions, of held-out pictures as the fit has them among the teacher's captions.

    What of the teacher's skill a linear map of the student's features carries over. The other scores don't ask for
    skill: what is easiest to learn is a teacher that knows nothing.
    """
    pictures, captions = pairs.of(fit.held)
    if told.text is None or not len(pictures):
        return None
    found = _retrieval(fit.predicted, told.text, pictures, captions)
    return (found["text_to_image/map"] + found["image_to_text/mrr"]) / 2


def _retrieval(image: np.ndarray, text: np.ndarray, pictures: np.ndarray, captions: np.ndarray) -> dict[str, float]:
    return retrieval_metrics(torch.as_tensor(image), torch.as_tensor(text[captions]), torch.as_tensor(pictures))


def over_seeds(given: Sequence[Scores]) -> tuple[Scores, Scores]:
    """Means and standard deviations; None where a seed has no number, and no deviation of one seed."""
    means: Scores = {}
    spread: Scores = {}
    for name in given[0]:
        values = [each for one in given if (each := one[name]) is not None]
        whole = len(values) == len(given)
        means[name] = statistics.fmean(values) if whole else None
        spread[name] = statistics.stdev(values) if whole and len(values) > 1 else None
    return means, spread


def ranked(values: Sequence[float | None], name: str) -> list[float | None]:
    """1 = best; equal ones share their places; those without a value have no rank."""
    sign = 1.0 if name in SMALLER_IS_BETTER else -1.0
    found = iter(ranks([sign * value for value in values if value is not None]).tolist())
    return [None if value is None else next(found) for value in values]


def signed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Scores]:
    """Score -> teacher -> value, larger = better, of the rows that `rank_teachers` makes."""
    found: dict[str, Scores] = {}
    for name in SCORES:
        sign = -1.0 if name in SMALLER_IS_BETTER else 1.0
        values = {row["name"]: row["scores"][name] for row in rows}
        found[name] = {teacher: None if value is None else sign * value for teacher, value in values.items()}
    return found
