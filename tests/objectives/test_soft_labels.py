"""Divergence from a distribution over classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from clipdistill.objectives.soft_labels import class_divergence


def test_by_hand_and_hard_labels() -> None:
    """Even shares against 3/4 and 1/4: (ln(2/3) + ln 2) / 2 = ln(4/3) / 2. Nothing is lost on a class of share 0."""
    logits = torch.tensor([[math.log(3.0), 0.0]])
    found = class_divergence(logits, torch.tensor([[0.5, 0.5]]))
    assert found.item() == pytest.approx(math.log(4 / 3) / 2)
    assert class_divergence(logits, torch.tensor([[0.75, 0.25]])).item() == pytest.approx(0, abs=1e-7)
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 5), torch.tensor([0, 3, 1, 4])
    hard = class_divergence(logits, torch.eye(5)[labels])
    torch.testing.assert_close(hard, cross_entropy(logits, labels, reduction="none"))
    with pytest.raises(ValueError, match=r"both be \[N, C\]"):
        class_divergence(logits, torch.ones(4, 4))


def test_the_gradient_is_that_of_soft_cross_entropy() -> None:
    """VL-BERT's."""
    torch.manual_seed(1)
    logits, shares = torch.randn(3, 6, requires_grad=True), torch.randn(3, 6).softmax(dim=1)
    (found,) = torch.autograd.grad(class_divergence(logits, shares).sum(), logits)
    (wanted,) = torch.autograd.grad(cross_entropy(logits, shares, reduction="sum"), logits)
    torch.testing.assert_close(found, wanted)
