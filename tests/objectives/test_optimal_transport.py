"""Optimal transport of words onto regions: by hand, against the exact solution, padding, gradients."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from clipdistill.objectives.optimal_transport import transport_distance, transport_plan

YES = torch.ones(1, 2, dtype=torch.bool)


def test_one_step_by_hand() -> None:
    """A = exp(-C / 1) of costs 0 and ln 2 is [[1, 1/2], [1/2, 1]]; everything is even, so scalings are too.

    Rows start with 1/2 each: columns get (1/2) / (1 * 1/2 + 1/2 * 1/2) = 2/3, rows (1/2) / (2/3 + 1/3) = 1/2. The plan
    is 1/2 * A * 2/3 = [[1/3, 1/6], [1/6, 1/3]]. A second step squares A: columns (1/2) / ((1/3 + 1/12) / 2) = 12/5,
    rows (1/2) / (12/5 * (1/3 + 1/12)) = 1/2, plan [[2/5, 1/10], [1/10, 2/5]].
    """
    cost = torch.log(torch.tensor([[[1.0, 2.0], [2.0, 1.0]]]))
    for steps, wanted in ((1, [[1 / 3, 1 / 6], [1 / 6, 1 / 3]]), (2, [[0.4, 0.1], [0.1, 0.4]])):
        plan = transport_plan(cost, YES, YES, beta=1.0, iterations=steps)
        torch.testing.assert_close(plan, torch.tensor([wanted]))


def test_two_words_on_two_regions_by_hand() -> None:
    """Words at 0 and 90 degrees, regions at 90 and 60: 0 -> 60 costs 1/2 and 90 -> 90 nothing; half of each moves."""
    words = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])
    regions = torch.tensor([[[0.0, 2.0], [0.5, 0.75**0.5]]])
    assert transport_distance(words, regions, YES, YES).item() == pytest.approx(0.25, abs=1e-4)
    assert transport_distance(words, words, YES, YES).item() == pytest.approx(0.0, abs=1e-4)


def test_near_the_exact_solution() -> None:
    """With as many words as regions the best plan is a permutation: the least mean cost over all of them."""
    torch.manual_seed(0)
    words, regions = torch.randn(2, 6, 5, 8, dtype=torch.float64)
    taken = torch.ones(6, 5, dtype=torch.bool)
    units = [value / value.norm(dim=-1, keepdim=True) for value in (words, regions)]
    cost = 1 - units[0] @ units[1].transpose(1, 2)
    each = torch.arange(5)
    exact = torch.stack([cost[:, each, list(order)].mean(1) for order in permutations(range(5))]).amin(0)
    found = transport_distance(words, regions, taken, taken)
    far = transport_distance(words, regions, taken, taken, iterations=2000)
    assert (found >= exact - 1e-6).all() and (found - exact < 0.02).all()
    torch.testing.assert_close(far, exact, atol=2e-3, rtol=0)
    plan = transport_plan(cost, taken, taken)
    torch.testing.assert_close(plan.sum(2), torch.full((6, 5), 0.2, dtype=torch.float64))
    assert (plan.sum(1) - 0.2).abs().max() < 0.02


def test_padding_and_empty_sides_change_nothing() -> None:
    torch.manual_seed(1)
    words, regions = torch.randn(2, 4, 6), torch.randn(2, 3, 6)
    word_mask = torch.tensor([[True] * 4, [True, True, False, False]])
    region_mask = torch.tensor([[True] * 3, [True, False, False]])
    found = transport_distance(words, regions, word_mask, region_mask)
    alone = transport_distance(words[1:, :2], regions[1:, :1], word_mask[1:, :2], region_mask[1:, :1])
    torch.testing.assert_close(found[1:], alone)
    wilder = words.clone()
    wilder[1, 2:] = 1e4
    torch.testing.assert_close(transport_distance(wilder, regions, word_mask, region_mask), found)
    nothing = transport_distance(words, regions, word_mask, torch.zeros_like(region_mask))
    assert nothing.tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"masks must be \[B, L\] and \[B, M\]"):
        transport_distance(words, regions, region_mask, word_mask)
    with pytest.raises(ValueError, match="words and regions must be"):
        transport_distance(words, regions[..., :5], word_mask, region_mask)


def test_the_plan_is_a_constant_of_the_gradient() -> None:
    torch.manual_seed(2)
    words, regions = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True), torch.randn(1, 2, 3).double()
    transport_distance(words, regions, YES, YES).sum().backward()
    units = torch.nn.functional.normalize(words, dim=-1), torch.nn.functional.normalize(regions, dim=-1)
    cost = 1 - units[0] @ units[1].transpose(1, 2)
    plan = transport_plan(cost.detach(), YES, YES)
    assert not plan.requires_grad
    (by_hand,) = torch.autograd.grad((cost * plan).sum(), words)
    torch.testing.assert_close(words.grad, by_hand)
