"""Correlations within blocks: by hand, pair by pair, and what a mixture of students would say wrongly."""

from __future__ import annotations

import numpy as np
import pytest

from clipdistill.evaluate.rank_correlation import rank_correlation, spearman
from clipdistill.evaluate.ranks_in_blocks import kendall, ranks_in_blocks


@pytest.mark.parametrize("seed", range(5))
def test_kendall_is_tau_b(seed: int) -> None:
    """(concordant - discordant) / sqrt((pairs - ties of x) (pairs - ties of y)), counted pair by pair."""
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 4, 9), generator.integers(0, 5, 9)
    pairs = [(np.sign(x[a] - x[b]), np.sign(y[a] - y[b])) for a in range(9) for b in range(a)]
    same = sum(one == two != 0 for one, two in pairs)
    other = sum(one == -two != 0 for one, two in pairs)
    ties = [sum(pair[side] == 0 for pair in pairs) for side in (0, 1)]
    assert kendall(x, y) == pytest.approx((same - other) / ((36 - ties[0]) * (36 - ties[1])) ** 0.5)
    assert kendall([1, 1, 1], [1, 2, 3]) is None


def test_by_hand() -> None:
    """Ranks 1 2 3 4 beside 1 2 4 3 and 2 1 4 3: rho 0.8 and 0.6, tau 4/6 and 2/6."""
    found = ranks_in_blocks([1, 2, 3, 4], [[[10], [20], [40], [30]], [[5], [1], [9], [8]]])
    assert (found.spearman, found.kendall) == (pytest.approx(0.7), pytest.approx(0.5))
    assert (found.teachers, found.blocks) == (4, 2)
    low, high = found.spearman_interval or (0, 0)
    assert -1 <= low < 0.7 < high <= 1


def test_one_block_is_the_correlation_that_rank_teachers_has() -> None:
    quality, outcome = [0.1, 0.5, 0.2, 0.9, 0.4], [[1.0, 1.2], [2.0, 2.2], [1.5, 0.1], [2.1, 1.9], [1.4, 1.6]]
    one, other = ranks_in_blocks(quality, [outcome]), rank_correlation(quality, outcome)
    assert (one.spearman, one.p) == (pytest.approx(other.rho), pytest.approx(other.p))
    assert one.spearman_interval == pytest.approx(other.interval, abs=0.1)  # other draws of the same kind


def test_students_of_several_sizes_do_not_hide_what_teachers_do() -> None:
    """The large student had the better half of the teachers: pooled it looks as if they made better students."""
    quality = [float(x) for x in range(1, 9)]
    small, large = [[1 - 0.1 * x] for x in quality], [[10 - 0.1 * x] for x in quality]
    pooled = spearman(quality, [one[0] for one in small[:4] + large[4:]])
    assert pooled is not None and pooled > 0.5
    found = ranks_in_blocks(quality, [[*small[:4], [], [], [], []], [[], [], [], [], *large[4:]]])
    assert (found.spearman, found.kendall, found.blocks) == (pytest.approx(-1), pytest.approx(-1), 2)
    assert ranks_in_blocks(quality, [small, [*small[:3], [], [], [], [], []]]).blocks == 1  # three aren't enough


def test_a_block_may_lack_a_teacher() -> None:
    quality = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = ranks_in_blocks(quality, [[[1], [2], [], [4], [3]]])
    assert found.spearman == pytest.approx(0.8) and found.blocks == 1


def test_too_little_says_nothing() -> None:
    assert ranks_in_blocks([1, 2, 3], [[[1], [2], [3]]]).spearman is None
    flat = ranks_in_blocks([1, 2, 3, 4], [[[1], [1], [1], [1]]])
    assert (flat.spearman, flat.spearman_interval, flat.p, flat.blocks) == (None, None, None, 1)


def test_uncertain_seeds_make_it_wider() -> None:
    quality = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    sure = ranks_in_blocks(quality, [[[x, x] for x in quality]])
    unsure = ranks_in_blocks(quality, [[[x - 4, x + 4] for x in quality]])
    assert sure.spearman == unsure.spearman == pytest.approx(1)
    (low, _), (lower, _) = sure.spearman_interval or (0, 0), unsure.spearman_interval or (0, 0)
    assert lower < low
    assert unsure == ranks_in_blocks(quality, [[[x - 4, x + 4] for x in quality]])  # seeded
