"""Spearman with ties, counted orders, draws of cells and seeds, and what a score adds to a baseline."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from clipdistill.errors import UserError
from clipdistill.evaluate.rank_correlation import against_baselines, rank_correlation, ranks, spearman


def test_ranks_share_their_places() -> None:
    assert ranks([30, 10, 20, 10]).tolist() == [4, 1.5, 3, 1.5]
    assert ranks([2, 2, 2]).tolist() == [2, 2, 2]


def test_spearman_by_hand() -> None:
    # Without ties 1 - 6 sum d^2 / (n (n^2 - 1)): d = 0, 1, -1, 0.
    assert spearman([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    # With ties Pearson of the shared ranks: (1.5, 1.5, 3) and (1, 2, 3).
    assert spearman([5, 5, 9], [1, 2, 3]) == pytest.approx(1.5 / np.sqrt(1.5 * 2))
    assert spearman([1, 2, 3], np.exp([1, 2, 3])) == pytest.approx(1)  # the order alone counts
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_three_cells_never_say_more_than_a_sixth() -> None:
    found = rank_correlation([1, 2, 3], [0.1, 0.2, 0.3])
    assert found.rho == pytest.approx(1) and found.p == pytest.approx(1 / 6)
    assert found.interval is None and found.cells == 3
    assert rank_correlation([1, 2, 3], [0.3, 0.2, 0.1]).p == 1
    none = rank_correlation([1, 1, 1], [0.3, 0.2, 0.1])
    assert none.rho is None and none.p is None


def test_p_is_the_share_of_orders_and_drawn_orders_come_near_it() -> None:
    forecast, outcome = [3, 1, 4, 1, 5], [2.0, 1.0, 3.0, 5.0, 4.0]
    rho = spearman(forecast, outcome)
    orders = [spearman(forecast, order) for order in itertools.permutations(outcome)]
    share = np.mean([one is not None and rho is not None and one >= rho - 1e-9 for one in orders])
    assert rank_correlation(forecast, outcome).p == pytest.approx(share)
    long, later = list(range(9)), [1, 0, 2, 4, 3, 5, 8, 6, 7]
    assert rank_correlation(long, later).p == pytest.approx(1 / 2001, abs=2e-3)  # the one at hand counts
    noise = np.random.default_rng(1).permutation(9).tolist()
    assert 0.02 < (rank_correlation(long, noise).p or 0) <= 1


def test_seeds_count_by_their_mean_and_widen_the_interval() -> None:
    forecast = [1, 2, 3, 4, 5]
    sure = rank_correlation(forecast, [[one, one] for one in (1.0, 2.0, 3.0, 4.0, 5.0)])
    unsure = rank_correlation(forecast, [[one - 3, one + 3] for one in (1.0, 2.0, 3.0, 4.0, 5.0)])
    assert sure.rho == unsure.rho == pytest.approx(1)
    assert sure.interval == pytest.approx((1, 1))
    assert unsure.interval is not None and unsure.interval[0] < 0.5
    assert unsure == rank_correlation(forecast, [[one - 3, one + 3] for one in (1.0, 2.0, 3.0, 4.0, 5.0)])  # seeded


def test_a_score_earns_its_place_where_it_disagrees_with_a_baseline() -> None:
    outcome = {"a": [0.1, 0.3], "b": 0.3, "c": 0.4, "d": 0.5}
    scores = {
        "accuracy": {"a": 1, "b": 2, "c": 4, "d": 3},
        "same": {"a": 10, "b": 20, "c": 40, "d": 30},
        "right": {"a": 1, "b": 2, "c": 3, "d": 4},
        "wrong": {"a": 2, "b": 1, "c": 4, "d": 3},
        "flat": {"a": 1, "b": 1, "c": 1, "d": 1},
        "part": {"a": 1, "b": None, "c": 3, "d": 4},
    }
    rows = {row["score"]: row for row in against_baselines(scores, outcome)}
    assert rows["accuracy"]["rho"] == pytest.approx(0.8) and rows["accuracy"]["against"] == {}
    same = rows["same"]["against"]["accuracy"]
    assert same == {"difference": 0, "interval": (0, 0), "disputed": 0, "won": 0}  # draws are shared
    right = rows["right"]["against"]["accuracy"]
    assert (right["difference"], right["disputed"], right["won"]) == (pytest.approx(0.2), 1, 1)
    assert right["interval"][0] >= 0
    wrong = rows["wrong"]["against"]["accuracy"]
    assert (wrong["difference"], wrong["disputed"], wrong["won"]) == (pytest.approx(-0.2), 1, 0)
    assert rows["flat"]["rho"] is None and rows["flat"]["against"]["accuracy"]["difference"] is None
    assert rows["flat"]["against"]["accuracy"]["disputed"] == 0  # a tie disputes nothing
    assert rows["part"]["missing"] == ["b"] and rows["part"]["rho"] is None
    assert "parameters" not in rows["right"]["against"]  # it isn't among the scores


def test_what_cannot_be_compared_is_one_line() -> None:
    for forecast, outcome in (([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0])):
        with pytest.raises(UserError, match="2 cells or more"):
            rank_correlation(forecast, outcome)
    for outcome in ([1.0, float("nan")], [1.0, []]):
        with pytest.raises(UserError, match="leave it out"):
            rank_correlation([1.0, 2.0], outcome)
