"""The quoted numbers by hand: of layers, of pairs of runs, and the paper's own."""

from __future__ import annotations

import numpy as np
import pytest

from clipdistill.analysis.comparison import compare, gap, interval, layer_values, paper_numbers, quoted
from clipdistill.analysis.reading import Importance


def importance(vision: list[list[float]], names: str = "ab") -> Importance:
    """Questions with one head a layer; `vision` [N][L], text is the rest."""
    seen = np.array(vision, np.float32)[:, :, None]
    return Importance(tuple(names), np.stack([1 - seen, seen, 0 * seen], axis=-1), (1.0, 1.0, 1.0))


def test_layers_are_means_over_heads_and_gaps_are_taken_layer_by_layer() -> None:
    heads = np.array([[[0.9, 0.1, 0.0], [0.7, 0.3, 0.0]], [[0.2, 0.8, 0.0], [0.4, 0.6, 0.0]]])
    layers = layer_values(heads)
    np.testing.assert_allclose(layers[:, :2], [[0.8, 0.2], [0.3, 0.7]])
    assert gap(layers) == pytest.approx((0.6 + 0.4) / 2)  # and not |0.55 - 0.45|


def test_what_the_paper_quotes_by_hand() -> None:
    before = importance([[0.1, 0.3], [0.3, 0.5]])  # layers: 0.2, 0.4; gaps 0.6, 0.2
    after = importance([[0.3, 0.4], [0.3, 0.5]])  # layers: 0.3, 0.45; gaps 0.4, 0.1
    found = compare([before], [after])
    (pair,) = found["pairs"]
    assert pair["questions"] == 2
    assert pair["gap_reduced"] == pytest.approx(1 - 0.25 / 0.4, abs=1e-6)
    assert pair["vision_up"] == pytest.approx(0.375 / 0.3 - 1, abs=1e-6)
    assert pair["vision_points"] == pytest.approx(0.075, abs=1e-6)
    assert found["sd"]["vision_up"] == 0 and found["mean"]["vision_up"] == pair["vision_up"]
    low, high = pair["interval"]["vision_points"]
    assert low == pytest.approx(0, abs=1e-6) and high == pytest.approx(0.15, abs=1e-6)  # each question alone


def test_pairs_of_runs_have_a_spread_and_share_their_questions() -> None:
    before = [importance([[0.2], [0.9]]), importance([[0.2]], "b")]
    after = [importance([[0.3]], "a"), importance([[0.9], [0.1]])]
    found = compare(before, after)
    assert [pair["questions"] for pair in found["pairs"]] == [1, 1]
    ups = [pair["vision_up"] for pair in found["pairs"]]
    assert ups == pytest.approx([0.5, -0.5]) and found["mean"]["vision_up"] == pytest.approx(0, abs=1e-6)
    assert found["sd"]["vision_up"] == pytest.approx(0.5**0.5, abs=1e-6)


def test_nothing_to_divide_by_is_no_number() -> None:
    even, blind = importance([[0.5]], "a"), importance([[0.0]], "a")
    assert np.isnan(compare([even], [blind])["pairs"][0]["gap_reduced"])
    assert np.isnan(compare([blind], [even])["pairs"][0]["vision_up"])
    bounds = interval(layer_values(even.values), layer_values(even.values))
    assert bounds["gap_reduced"] == [] and bounds["vision_up"] == [0.0, 0.0]


def test_the_papers_numbers_fit_each_other_as_relative_ones() -> None:
    printed = paper_numbers()
    assert printed == {"gap_reduced": 0.36, "vision_up": 0.106}
    seen = printed["gap_reduced"] / (2 * printed["gap_reduced"] + 2 * printed["vision_up"])
    layers = [np.array([[1 - one, one, 0.0]]) for one in (seen, seen * 1.106)]
    assert seen == pytest.approx(0.386, abs=1e-3) and quoted(*layers)["gap_reduced"] == pytest.approx(0.36)
