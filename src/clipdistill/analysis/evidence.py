"""LogME for a teacher's embeddings as regression targets: the evidence of a linear map from a student's features.

Source: You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", section 4 and
algorithm 3 (the fixed point), with the roles turned: their features are the student's, their targets the teacher's.
"""

from __future__ import annotations

import numpy as np

from clipdistill.errors import UserError

EPSILON = 1e-5
STEPS = 11
CHANGE = 0.01


def log_evidence(features: np.ndarray, targets: np.ndarray) -> float:
    """Mean log evidence an item and a target dimension of y = F w + noise, w ~ N(0, 1/alpha), noise ~ N(0, 1/beta).

    alpha and beta of each dimension are found by the published fixed point: from 1, at most 11 steps, until their ratio
    changes by less than 1 %. Both sides are centred; features are divided by one number (their mean variance becomes
    1), each target dimension by its own deviation. So neither side's scale counts, and unrelated targets stand near
    -(1 + ln 2 pi) / 2 = -1.42 whatever N and D. Dimensions that don't vary are left out.

    The value depends on how the targets' axes lie and how many there are: compare teachers on `principal` components of
    equal number.

    Args:
        features: [N, D]. targets: [N, E].

    Raises:
        UserError: arrays that don't fit, NaN or infinity, fewer than 2 items, features or targets that don't vary.
    """
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets) or len(features) < 2:
        raise UserError(f"LogME: features {features.shape} and targets {targets.shape} don't fit")
    if not (np.isfinite(features).all() and np.isfinite(targets).all()):
        raise UserError("LogME: there is NaN or infinity among the embeddings; give a model that hasn't diverged")
    x, y = (each.astype(np.float64) - each.mean(axis=0, dtype=np.float64) for each in (features, targets))
    deviation = y.std(axis=0)
    moves = deviation > 1e-9 * max(float(np.max(deviation)), np.finfo(np.float64).tiny)
    spread = np.sqrt((x**2).mean())
    if not moves.any() or spread == 0:
        raise UserError("LogME: the embeddings are the same for all items; is the model trained?")
    left, values, _ = np.linalg.svd(x / spread, full_matrices=False)
    y = y[:, moves] / deviation[moves]
    turned = (left.T @ y) ** 2
    outside = np.maximum((y**2).sum(axis=0) - turned.sum(axis=0), 0.0)
    found = [_maximised(values**2, turned[:, d], float(outside[d]), len(y)) for d in range(y.shape[1])]
    return float(np.mean(found) / len(y))


def _maximised(sigma: np.ndarray, turned: np.ndarray, outside: float, n: int) -> float:
    """Log evidence of one target.

    sigma: squared singular values of the features. turned: squared coordinates of the target along the left singular
    vectors. outside: what of its squared length they don't reach.
    """
    ratio, alpha, beta, evidence = 1.0, 1.0, 1.0, -np.inf
    for _ in range(STEPS):
        gamma = (sigma / (sigma + ratio)).sum()
        weights, error = _squares(sigma, turned, outside, ratio)
        alpha, beta = gamma / (weights + EPSILON), (n - gamma) / (error + EPSILON)
        before, ratio = ratio, alpha / beta
        evidence = _evidence(sigma, weights, error, alpha, beta, n)
        if abs(ratio - before) <= CHANGE * before:
            break
    return evidence


def _squares(sigma: np.ndarray, turned: np.ndarray, outside: float, ratio: float) -> tuple[float, float]:
    """Squared length of the posterior mean of the weights, and its squared error, for alpha / beta = ratio."""
    weights = (sigma * turned / (sigma + ratio) ** 2).sum()
    error = (turned / (1 + sigma / ratio) ** 2).sum() + outside
    return float(weights), float(error)


def _evidence(sigma: np.ndarray, weights: float, error: float, alpha: float, beta: float, n: int) -> float:
    """Equation 2 of the paper; directions without features cancel: their log alpha stands there twice."""
    return float(
        0.5 * len(sigma) * np.log(alpha) + 0.5 * n * np.log(beta) - 0.5 * n * np.log(2 * np.pi)
        - 0.5 * beta * error - 0.5 * alpha * weights - 0.5 * np.log(alpha + beta * sigma).sum()
    )  # fmt: skip


def principal(targets: np.ndarray, width: int) -> np.ndarray:
    """The first `width` principal components of targets, [N, width] float64, largest first; the sign of each is fixed.

    Raises:
        UserError: more components than targets have dimensions or items.
    """
    if not 1 <= width <= min(targets.shape):
        raise UserError(f"principal components: {width} of targets {targets.shape}; ask for fewer")
    centred = targets.astype(np.float64) - targets.mean(axis=0, dtype=np.float64)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    found: np.ndarray = (left * (values * sign))[:, :width]
    return found
