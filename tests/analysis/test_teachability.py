"""Ridge fits, CKA, neighbours and margins: by hand, by another way of computing, and what must not change them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from clipdistill.analysis.teachability import LAMBDAS, cka, margin_entropy, neighbour_agreement, ridge_fit
from clipdistill.errors import UserError


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def rotation(width: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(normal(width, width, seed=seed))[0]


def thirds(n: int) -> np.ndarray:
    return np.arange(n) % 3


def test_a_ridge_fit_by_hand() -> None:
    # Fitted and chosen on: x = -1, 1 with y = -2, 2, twice. With penalty 1 (variance of x is 1): slope 2 / (1 + 1) = 1.
    x = np.array([[-1.0], [1.0], [-1.0], [1.0], [0.0], [2.0]])
    y = np.array([[-2.0], [2.0], [-2.0], [2.0], [0.0], [4.0]])
    found = ridge_fit(x, y, np.array([0, 0, 1, 1, 2, 2]), penalties=[1.0])
    np.testing.assert_allclose(found.predicted, [[0.0], [2.0]])
    assert found.r2 == pytest.approx(1 - 4 / 8)  # errors 0 and 2; the held-out mean is 2, distances 2 and 2
    assert found.held.tolist() == [4, 5] and found.penalty == 1.0


@pytest.mark.parametrize(("n", "width"), [(90, 7), (30, 40)])  # more features than items, too
def test_a_ridge_fit_is_that_of_the_normal_equations(n: int, width: int) -> None:
    x, parts = normal(n, width) + 3, thirds(n)
    y = x @ normal(width, 5, seed=1) + 2 * normal(n, 5, seed=2)

    def fitted(penalty: float, rows: np.ndarray, on: np.ndarray) -> tuple[float, np.ndarray]:
        mean, middle = x[rows].mean(0), y[rows].mean(0)
        a, b = x[rows] - mean, y[rows] - middle
        weights = np.linalg.solve(a.T @ a + penalty * np.trace(a.T @ a) / width * np.eye(width), a.T @ b)
        found = (x[on] - mean) @ weights + middle
        return 1 - ((y[on] - found) ** 2).sum() / ((y[on] - y[on].mean(0)) ** 2).sum(), found

    fit, choose, held = (np.flatnonzero(parts == part) for part in range(3))
    best = max(LAMBDAS, key=lambda penalty: fitted(penalty, fit, choose)[0])
    r2, predicted = fitted(best, np.flatnonzero(parts < 2), held)
    found = ridge_fit(x, y, parts)
    assert found.penalty == best and LAMBDAS[0] < best < LAMBDAS[-1]
    assert found.r2 == pytest.approx(r2, abs=1e-9)
    np.testing.assert_allclose(found.predicted, predicted, atol=1e-7)


def test_held_out_items_have_no_say_in_fit_or_penalty() -> None:
    x, y, parts = normal(60, 6), normal(60, 4, seed=1), thirds(60)
    before = ridge_fit(x, y, parts)
    y[parts == 2] = 100
    after = ridge_fit(x, y, parts)
    assert after.penalty == before.penalty and after.r2 is None  # they don't vary any more
    np.testing.assert_allclose(after.predicted, before.predicted)


def test_unrelated_features_get_the_largest_penalty_and_nothing() -> None:
    found = ridge_fit(normal(300, 20), normal(300, 30, seed=1), thirds(300))
    assert found.r2 == pytest.approx(0, abs=0.02)
    constant = ridge_fit(np.ones((300, 20)), normal(300, 30, seed=1), thirds(300))
    assert constant.r2 is not None and -0.02 < constant.r2 <= 0


def hsic_by_tuples(k: np.ndarray, m: np.ndarray) -> float:
    """The estimator's definition: means over tuples of different items."""
    n = range(len(k))
    pairs = np.mean([k[i, j] * m[i, j] for i, j in itertools.permutations(n, 2)])
    chains = np.mean([k[i, j] * m[i, q] for i, j, q in itertools.permutations(n, 3)])
    apart = np.mean([k[i, j] * m[q, r] for i, j, q, r in itertools.permutations(n, 4)])
    return float(pairs - 2 * chains + apart)


def test_cka_is_the_ratio_of_means_over_different_items() -> None:
    x, y = normal(7, 3) + 1, normal(7, 2, seed=1)
    y[:, 0] += x[:, 0]
    k, m = x @ x.T, y @ y.T
    expected = hsic_by_tuples(k, m) / math.sqrt(hsic_by_tuples(k, k) * hsic_by_tuples(m, m))
    assert cka(x, y) == pytest.approx(expected, abs=1e-10)


def test_cka_of_unrelated_features_is_nothing_whatever_the_widths_and_the_number() -> None:
    def biased(x: np.ndarray, y: np.ndarray) -> float:
        x, y = x - x.mean(0), y - y.mean(0)
        return float((np.abs(x.T @ y) ** 2).sum() / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))

    for n, high in ((64, 0.8), (256, 0.5), (1024, 0.2)):
        x, y = normal(n, 192), normal(n, 768, seed=1)
        assert biased(x, y) > high  # what comes of comparing widths by the other formula
        found = cka(x, y)
        assert found is not None and abs(found) < 0.02
    assert cka(normal(10, 3), np.ones((10, 2))) is None


@pytest.mark.parametrize("score", [
    lambda x, y: ridge_fit(x, y, thirds(len(x))).r2, cka, lambda x, y: neighbour_agreement(x, y, 5)
])  # fmt: skip
def test_neither_rotation_scale_shift_nor_unused_axes_change_a_score(score) -> None:  # type: ignore[no-untyped-def]
    x, y = normal(60, 6) + 2, normal(60, 4, seed=1)
    y[:, :3] += x[:, :3]
    before = score(x, y)
    assert 0.2 < before < 0.9
    wide = np.concatenate([y, np.zeros((60, 3))], axis=1) @ rotation(7)
    assert score(x @ rotation(6) * 1e4 + 5, y) == pytest.approx(before, abs=1e-8)
    assert score(x, wide * 1e-3 - 1) == pytest.approx(before, abs=1e-8)
    order = np.random.default_rng(3).permutation(20)
    order = (3 * order[:, None] + np.arange(3)).ravel()  # keeps each item's part
    assert score(x[order], y[order]) == pytest.approx(before, abs=1e-8)


def test_neighbours_by_hand() -> None:
    # Around their mean (0, 0): four directions and their near twins; in y the twins of two pairs are exchanged.
    angles = np.radians([0, 10, 90, 100, 180, 190, 270, 280])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.allclose(x.mean(0), 0)
    y = x[[0, 3, 2, 1, 4, 5, 6, 7]]
    assert neighbour_agreement(x, x, 1) == 1
    assert neighbour_agreement(x, y, 1) == pytest.approx(4 / 8)  # the twins of 180 and 270 alone
    assert neighbour_agreement(x, y, 7) == 1  # all others


def test_neighbours_are_those_of_a_full_sort_and_do_not_hang_on_the_chunk() -> None:
    x, y = normal(83, 5), normal(83, 9, seed=1)
    y[:, :5] += 2 * x

    def sets(rows: np.ndarray) -> list[set[int]]:
        rows = rows - rows.mean(0)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        near = rows @ rows.T - 9 * np.eye(len(rows))
        return [set(np.argsort(-row)[:10].tolist()) for row in near]

    expected = np.mean([len(a & b) / 10 for a, b in zip(sets(x), sets(y), strict=True)])
    for chunk in (1, 7, 83, 1000):
        assert neighbour_agreement(x, y, 10, chunk) == expected


def test_equal_rows_tie_and_the_first_count() -> None:
    x = np.repeat(normal(4, 3), 5, axis=0)
    assert neighbour_agreement(x, x @ rotation(3), 2, chunk=3) == 1
    # An untrained tower: all nearly one direction, told apart by what lies around it.
    y = normal(50, 8)
    assert neighbour_agreement(1 + 1e-5 * y, y, 5) > 0.99


def test_unrelated_neighbours_agree_by_chance() -> None:
    found = [neighbour_agreement(normal(n, 16), normal(n, 16, seed=1), 10) for n in (101, 401)]
    assert found[0] == pytest.approx(0.1, abs=0.02) and found[1] == pytest.approx(0.025, abs=0.01)
    with pytest.raises(UserError, match="k is 4 with 4 items"):
        neighbour_agreement(normal(4, 2), normal(4, 2), 4)


def entropy(p: float) -> float:
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def test_margin_entropy_by_hand() -> None:
    image, text = np.eye(2), np.array([[2.0, 0.0], [0.6, 0.8], [0.0, 3.0]])
    # Picture 0 has captions 0 and 1 (margins to caption 2: 1 and 0.6); picture 1 has caption 2 (rival 1: 1 - 0.8).
    pairs = np.array([1, 0, 0]), np.array([2, 0, 1])
    expected = [entropy(1 / (1 + math.exp(-10 * margin))) for margin in (1, 0.6, 0.2)]
    for chunk in (1, 2):
        assert margin_entropy(image, text, *pairs, 10.0, chunk) == pytest.approx(np.mean(expected))
    assert margin_entropy(image, text, *pairs, 0.0) == 1  # a coin
    assert margin_entropy(image, text, *pairs, 1e6) == 0  # never in doubt, and no overflow


def test_what_cannot_be_scored_is_one_line() -> None:
    x = normal(9, 2)
    with pytest.raises(UserError, match="captions"):
        margin_entropy(x, x, np.array([], int), np.array([], int), 1.0)
    with pytest.raises(UserError, match="every caption"):
        margin_entropy(x[:1], x[:1], np.array([0]), np.array([0]), 1.0)
    with pytest.raises(UserError, match="too few"):
        ridge_fit(x, x, np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]))
    with pytest.raises(UserError, match="NaN"):
        cka(x, np.full((9, 2), np.nan))
    with pytest.raises(UserError, match="don't fit"):
        cka(x, normal(8, 2))
