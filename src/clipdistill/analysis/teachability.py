"""What a student could learn of a teacher, scored from embeddings alone: arrays in, numbers out, in float64.

| score | asks |
|---|---|
| `ridge_fit` | how much of the teacher a linear map of the student's features gives, on items it wasn't fitted to |
| `cka` | whether both have the same similarities between items, all pairs counted |
| `neighbour_agreement` | whether both have the same nearest neighbours |
| `margin_entropy` | how unsure the teacher is between a caption and its strongest rival; no student is asked |

`analysis.evidence.log_evidence` is the fifth. None sees a label, and neither a rotation nor the scale of either side
changes any of the first three. Teachers are compared on the same items alone: features that have nothing in common
stand at 0 (or below) for `ridge_fit` and `cka` whatever the widths, but at k / (N - 1) for `neighbour_agreement`, and a
caption has more rivals where there are more captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipdistill.errors import UserError
from clipdistill.evaluate.likeness.cka import LEAST, cka_of_all

LAMBDAS: tuple[float, ...] = tuple(10.0 ** (exponent / 2) for exponent in range(-12, 7))
"""Ridge penalties that are tried, in units of the mean eigenvalue of the features' covariance: 1e-6 to 1e3."""
FINE = 2.0**40
"""Cosines are rounded to 1 / FINE before they are compared: equal rows must tie, whatever the order of summation."""


@dataclass(frozen=True)
class Ridge:
    """A ridge fit.

    r2: share of the variance explained on held-out items; None where they don't vary. penalty: the one chosen.
    held: numbers of the held-out items, int [H]. predicted: what the fit gives for them, float64 [H, E].
    """

    r2: float | None
    penalty: float
    held: np.ndarray
    predicted: np.ndarray


def ridge_fit(
    features: np.ndarray, targets: np.ndarray, parts: np.ndarray, penalties: Sequence[float] = LAMBDAS
) -> Ridge:
    """Predict a teacher's embeddings from a student's features by ridge regression, and score held-out items.

    Minimises |Y - X W - b|^2 + penalty n s |W|^2 in closed form, where s is the mean variance of X's columns; one
    singular value decomposition serves all penalties. The best on part 1 is fitted again on parts 0 and 1. R2 is
    1 - (squared error) / (squared distance from the held-out mean), both summed over items and dimensions: large
    directions of the teacher count more, and a rotation of it changes nothing.

    Args:
        features: [N, D] of the student. targets: [N, E] of the teacher.
        parts: int [N]; 0 = fitted, 1 = the penalty is chosen on them, 2 = held out.
        penalties: tried, in units of the mean variance; of equally good ones the largest is taken.

    Raises:
        UserError: a part without items, arrays that don't fit, or NaN or infinity among them.
    """
    x, y = _pair(features, targets)
    if parts.shape != (len(x),):
        raise UserError(f"ridge: {len(parts)} parts for {len(x)} items; give one for each")
    fit, choose, held = (np.flatnonzero(parts == part) for part in range(3))
    if min(len(fit), len(choose), len(held)) < 2:
        raise UserError(f"ridge: {len(x)} items are too few to fit, choose and hold some out; give more")
    first = _Fit(x[fit], y[fit])
    tried = [(first.r2(penalty, x[choose], y[choose]), penalty) for penalty in penalties]
    best = max(tried, key=lambda one: (-np.inf if one[0] is None else one[0], one[1]))[1]
    last = _Fit(x[parts < 2], y[parts < 2])
    return Ridge(last.r2(best, x[held], y[held]), best, held, last.predict(best, x[held]))


class _Fit:
    """Centred arrays decomposed once; any penalty is then a product of matrices."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x_mean, self.y_mean = x.mean(axis=0), y.mean(axis=0)
        left, self.values, self.right = np.linalg.svd(x - self.x_mean, full_matrices=False)
        self.turned = left.T @ (y - self.y_mean)
        self.unit = float((self.values**2).sum() / x.shape[1])

    def predict(self, penalty: float, x: np.ndarray) -> np.ndarray:
        """[M, E] for features [M, D]."""
        below = self.values**2 + penalty * self.unit
        shrunk = np.divide(self.values, below, out=np.zeros_like(below), where=below > 0)
        found: np.ndarray = (x - self.x_mean) @ (self.right.T @ (shrunk[:, None] * self.turned)) + self.y_mean
        return found

    def r2(self, penalty: float, x: np.ndarray, y: np.ndarray) -> float | None:
        """Share of the variance of y that is explained; None where y doesn't vary."""
        total = ((y - y.mean(axis=0)) ** 2).sum()
        return float(1 - ((y - self.predict(penalty, x)) ** 2).sum() / total) if total > 0 else None


def cka(features: np.ndarray, targets: np.ndarray) -> float | None:
    """Unbiased linear CKA, all pairs of items compared; see `evaluate.likeness.cka.cka_of_all`.

    Rows are used as they are: give unit rows where lengths mean nothing.

    Args:
        features: [N, D], targets: [N, E]; N of 4 or more.

    Raises:
        UserError: fewer items, or arrays as in `ridge_fit`.
    """
    x, y = _pair(features, targets)
    if len(x) < LEAST:
        raise UserError(f"CKA: {len(x)} items; the unbiased one needs {LEAST} or more")
    return cka_of_all(x, y)


def neighbour_agreement(features: np.ndarray, targets: np.ndarray, k: int = 10, chunk: int = 1024) -> float:
    """Mean share of an item's k nearest neighbours (itself left out) that both spaces have in common.

    Near is what has a large cosine about the mean of all rows: an untrained tower gives all pictures nearly the same
    direction, and what differs lies around it. Unrelated spaces agree on k / (N - 1). Of neighbours that are equally
    near, the first rows count. Memory is O(chunk x N).

    Raises:
        UserError: not more than k items, or arrays as in `ridge_fit`.
    """
    x, y = (_unit(each - each.mean(axis=0)) for each in _pair(features, targets))
    if not 1 <= k < len(x):
        raise UserError(f"neighbours: k is {k} with {len(x)} items; give 1 to {len(x) - 1}")
    common = 0
    for start in range(0, len(x), chunk):
        rows = np.arange(start, min(start + chunk, len(x)))
        first, second = _nearest(x, rows, k), _nearest(y, rows, k)
        common += sum(len(np.intersect1d(a, b, assume_unique=True)) for a, b in zip(first, second, strict=True))
    return common / (k * len(x))


def _nearest(x: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """The k nearest rows of some rows, [B, k]: by one whole number for cosine and row, so that no two are equal."""
    n = len(x)
    keys = np.rint(x[rows] @ x.T * FINE).astype(np.int64) * n + np.arange(n - 1, -1, -1)
    keys[np.arange(len(rows)), rows] = np.iinfo(np.int64).min
    found: np.ndarray = np.argpartition(keys, n - k, axis=1)[:, n - k :]
    return found


def margin_entropy(
    image: np.ndarray, text: np.ndarray, pictures: np.ndarray, texts: np.ndarray, scale: float, chunk: int = 1024
) -> float:
    """Mean entropy, in bits, of a teacher's choice between a picture's caption and the strongest rival caption.

    The margin is scale x (cosine with the own caption - the greatest cosine with a caption of other pictures alone);
    the choice has probability sigmoid(margin). 0 = never in doubt, so that its soft targets say no more than the
    labels; 1 = a coin. A bias of the logits cancels.

    Args:
        image: [N, D]. text: [T, D], different texts. pictures, texts: int [M] each, the pairs of picture and caption.
        scale: of the teacher's logits.

    Raises:
        UserError: no pair, or no rival for some picture; NaN or infinity.
    """
    if len(pictures) == 0:
        raise UserError("margin entropy: there are no captions; give data that has some")
    image, text = _unit(_finite(image, "image")), _unit(_finite(text, "text"))
    order = np.argsort(pictures, kind="stable")
    pictures, texts = pictures[order], texts[order]
    total = 0.0
    for start in range(0, len(image), chunk):
        low, high = np.searchsorted(pictures, [start, start + chunk])
        own, which = pictures[low:high] - start, texts[low:high]
        cosines = image[start : start + chunk] @ text.T
        right = cosines[own, which]
        cosines[own, which] = -np.inf
        margins = scale * (right - cosines.max(axis=1)[own])
        if np.isinf(margins).any():
            raise UserError("margin entropy: a picture has every caption there is; give data with different captions")
        total += _binary_entropy(margins).sum()
    return float(total / len(pictures))


def _binary_entropy(logit: np.ndarray) -> np.ndarray:
    """Entropy in bits of a coin with these log odds, without overflow."""
    size = np.abs(logit)
    small = np.exp(-size)
    found: np.ndarray = (np.log1p(small) + size * small / (1 + small)) / np.log(2)
    return found


def _pair(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        raise UserError(f"teachability: features {features.shape} and targets {targets.shape} don't fit")
    return _finite(features, "student's"), _finite(targets, "teacher's")


def _finite(rows: np.ndarray, whose: str) -> np.ndarray:
    if not np.isfinite(rows).all():
        raise UserError(f"teachability: the {whose} embeddings hold NaN or infinity; give a model that hasn't diverged")
    return rows.astype(np.float64)


def _unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    return found
