"""CLIP-TD's equations by hand."""

from __future__ import annotations

import pytest
import torch
from torch import tensor

from clipdistill.objectives.targeted import (
    choice_divergence,
    confidence_ratio,
    gate,
    l1_distance,
    top_words,
    unit_rms,
    word_scores,
)


def test_l1_is_the_norm_of_a_row_or_its_mean() -> None:
    student = tensor([[1.0, -2.0], [0.0, 0.5]], requires_grad=True)
    teacher = tensor([[0.0, 2.0], [0.0, 0.5]], requires_grad=True)
    assert l1_distance(student, teacher, "sum").tolist() == [5.0, 0.0]
    assert l1_distance(student, teacher).tolist() == [2.5, 0.0]
    l1_distance(student, teacher, "sum").sum().backward()
    assert student.grad is not None and student.grad.tolist() == [[1.0, -1.0], [0.0, 0.0]]
    assert teacher.grad is None
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        l1_distance(student, torch.zeros(2, 3))


def test_unit_rms_forgets_the_scale() -> None:
    assert unit_rms(tensor([[3.0, -4.0], [0.0, 0.0]])).tolist() == [
        pytest.approx([3 / 12.5**0.5, -4 / 12.5**0.5]), [0.0, 0.0],
    ]  # fmt: skip


def test_word_scores_add_two_shares() -> None:
    relevance, importance = tensor([0.1, -0.5, 0.3, 9.0]), tensor([0.0, 0.5, 1.5, 9.0])
    found = word_scores(relevance, importance, tensor([True, True, True, False]))
    assert found.tolist() == pytest.approx([0.25, 0.25, 1.5, 0.0])  # -0.5 counts as 0; padding as nothing
    flat = word_scores(torch.full((3,), -1.0), tensor([1.0, 1.0, 2.0]), torch.ones(3, dtype=torch.bool))
    assert flat.tolist() == [0.25, 0.25, 0.5]


def test_top_words_are_candidates_and_the_earlier_of_equals() -> None:
    scores = tensor([0.5, 0.2, 0.5, 0.9])
    assert top_words(scores, tensor([True, True, True, False]), 2).tolist() == [0, 2]
    assert top_words(scores, tensor([False, True, False, False]), 2).tolist() == [1]
    assert top_words(scores, torch.zeros(4, dtype=torch.bool), 2).tolist() == []


def test_the_gate_opens_just_above_one() -> None:
    sure = tensor([[0.0, 0.0], [2.0, 0.0]])
    student = tensor([[1e-3, 0.0], [2.0, 0.0]], requires_grad=True)
    ratio = confidence_ratio(sure, student)
    assert not ratio.requires_grad
    assert ratio.tolist() == pytest.approx([0.5 / torch.tensor([1e-3, 0.0]).softmax(0)[0].item(), 1.0])
    assert gate(ratio).tolist() == [0.0, 0.0]  # 1 itself is closed
    assert gate(confidence_ratio(sure, student, temperature=1.001)).tolist() == [1.0, 1.0]
    three = confidence_ratio(tensor([[0.0, 0.0, 0.0]]), tensor([[0.0, 0.0]]))  # other numbers of answers
    assert three.tolist() == pytest.approx([(1 / 3) / (1 / 2)])


def test_choice_divergence_is_kl_of_the_teacher() -> None:
    teacher, student = tensor([[1.0, 0.0]]), tensor([[0.0, 0.0]])
    p = torch.tensor([1.0, 0.0]).softmax(0)
    assert choice_divergence(student, teacher).item() == pytest.approx((p * (p / 0.5).log()).sum().item())
    assert choice_divergence(teacher, teacher).tolist() == [0.0]
