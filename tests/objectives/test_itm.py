"""Matching: how negatives are drawn, and the loss of the head."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from clipdistill.objectives.itm import hard_negatives, matching_loss


def test_negatives_are_never_the_positive_and_follow_the_softmax_both_ways() -> None:
    torch.manual_seed(0)
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    text = torch.tensor([[0.6, 0.8], [0.8, -0.6], [0.0, 2.0]])  # normalised inside
    # Cosines: 0.6 0.8 0.0 / 0.8 -0.6 1.0 / -0.6 -0.8 0.0, times 2; without the own column (row).
    e = math.exp
    of_pictures = [e(1.6) / (e(1.6) + 1), e(1.6) / (e(1.6) + e(2)), e(-1.2) / (e(-1.2) + e(-1.6))]  # 1, 0, 0 drawn
    of_texts = [e(1.6) / (e(1.6) + e(-1.2)), e(1.6) / (e(1.6) + e(-1.6)), 1 / (1 + e(2))]  # 1, 0, 0 drawn
    drawn = [hard_negatives(image, text, 2.0) for _ in range(2000)]
    for side, shares in enumerate((of_pictures, of_texts)):
        rows = torch.stack([one[side] for one in drawn])
        assert not (rows == torch.arange(3)).any()
        found = (rows == torch.tensor([1, 0, 0])).float().mean(dim=0)
        torch.testing.assert_close(found, torch.tensor(shares), rtol=0, atol=0.03)
    eye = torch.eye(4)
    for scale in (1.0, 1000.0):
        assert not any((rows == torch.arange(4)).any() for rows in hard_negatives(eye, eye, scale))
    with pytest.raises(ValueError, match="at least two"):
        hard_negatives(eye[:1], eye[:1], 1.0)


def test_the_generator_decides_the_negatives_and_autocast_does_not() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 16), torch.randn(64, 16)
    torch.manual_seed(7)
    first = hard_negatives(x, y, 100.0)
    with torch.autocast("cpu", torch.bfloat16):  # a cosine times 100 is off by 0.2 in bfloat16
        torch.manual_seed(7)
        again = hard_negatives(x, y, 100.0)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


def test_matching_loss_by_hand_and_its_gradient() -> None:
    sure = torch.tensor([[0.0, math.log(3.0)]])  # 3/4 for "belongs together"
    assert matching_loss(sure, sure).item() == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    head = nn.Linear(3, 2).double()
    positive, negative = torch.randn(2, 3).double().requires_grad_(), torch.randn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: matching_loss(head(a), head(b)), (positive, negative))
