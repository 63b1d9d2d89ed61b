"""LogME: the evidence by its definition, its maximum by search, what must not change it, and equal widths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipdistill.analysis.evidence import log_evidence, principal
from clipdistill.errors import UserError

NOTHING = -(1 + math.log(2 * math.pi)) / 2
"""The evidence an item of a target of deviation 1 that the features say nothing of: that of the best Gaussian."""


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def by_definition(x: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> float:
    """log N(y; 0, 1/beta + F F' / alpha): no posterior, no singular values."""
    covariance = np.eye(len(x)) / beta + x @ x.T / alpha
    return float(-0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * math.pi * covariance)[1]))


@pytest.mark.parametrize(("n", "width"), [(40, 5), (20, 30)])
def test_it_is_the_greatest_evidence_of_the_definition(n: int, width: int) -> None:
    x = normal(n, width)
    y = x @ normal(width, seed=1) / math.sqrt(width) + normal(n, seed=2)
    a, b = x - x.mean(0), y - y.mean()
    a, b = a / np.sqrt((a**2).mean()), b / b.std()
    grid = 10 ** np.linspace(-2, 3, 61)
    best = max(by_definition(a, b, alpha, beta) for alpha in grid for beta in grid)
    assert log_evidence(x, y[:, None]) == pytest.approx(best / n, abs=3e-3)


def test_what_features_say_raises_it_and_what_they_do_not_say_is_a_plain_gaussian() -> None:
    x = normal(400, 8)
    said, unsaid = x @ normal(8, 3, seed=1), normal(400, 3, seed=2)
    assert log_evidence(x, unsaid) == pytest.approx(NOTHING, abs=0.02)
    noisy, clear = (log_evidence(x, said + noise * unsaid) for noise in (2.0, 0.5))
    assert NOTHING < noisy < clear
    both = log_evidence(x, np.concatenate([said, unsaid], axis=1))  # a mean over dimensions
    assert both == pytest.approx((log_evidence(x, said) + log_evidence(x, unsaid)) / 2)


def test_neither_side_s_scale_the_features_axes_nor_the_order_change_it() -> None:
    x = normal(90, 6) + 4
    y = x[:, :3] @ normal(3, 5, seed=1) + normal(90, 5, seed=2)
    before, order = log_evidence(x, y), np.random.default_rng(0).permutation(90)
    turn = np.linalg.qr(normal(6, 6, seed=3))[0]
    assert log_evidence(1e3 * x @ turn, 1e-4 * y - 7) == pytest.approx(before, abs=1e-9)
    assert log_evidence(x[order], y[order]) == pytest.approx(before, abs=1e-9)
    still = np.concatenate([y, np.ones((90, 2))], axis=1)  # dimensions that never move
    assert log_evidence(x, still) == pytest.approx(before, abs=1e-9)


def test_components_of_equal_number_take_the_widths_out_of_it() -> None:
    x = normal(300, 8)
    y = x @ normal(8, 4, seed=1) + 0.3 * normal(300, 4, seed=2)
    wide = np.concatenate([y, 1e-3 * normal(300, 60, seed=3)], axis=1)  # the same teacher and sixty idle dimensions
    assert log_evidence(x, y) - log_evidence(x, wide) > 0.5
    same, other = (log_evidence(x, principal(each, 4)) for each in (y, wide))
    assert other == pytest.approx(same, abs=0.01)


def test_components_are_the_coordinates_of_most_variance() -> None:
    y = normal(50, 3) * [1.0, 5.0, 2.0] + 9
    found = principal(y, 2)
    values = np.linalg.eigvalsh(np.cov(y.T))[::-1]
    np.testing.assert_allclose(np.cov(found.T), np.diag(values[:2]), atol=1e-9)
    np.testing.assert_allclose(principal(y[::-1], 2), found[::-1], atol=1e-9)  # signs don't hang on the order
    with pytest.raises(UserError, match="ask for fewer"):
        principal(y, 4)


def test_what_cannot_be_scored_is_one_line() -> None:
    with pytest.raises(UserError, match="same for all"):
        log_evidence(normal(9, 2), np.ones((9, 2)))
    with pytest.raises(UserError, match="same for all"):
        log_evidence(np.ones((9, 2)), normal(9, 2))
    with pytest.raises(UserError, match="NaN"):
        log_evidence(normal(9, 2), np.full((9, 2), np.inf))
    with pytest.raises(UserError, match="don't fit"):
        log_evidence(normal(9, 2), normal(8, 2))
