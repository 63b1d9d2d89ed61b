"""Relational distillation: hand-worked distances and angles, invariances, gradients, duplicates."""

from __future__ import annotations

import math

import pytest
import torch

from clipdistill.objectives.rkd import rkd_angle, rkd_distance

EAST, NORTH, WEST = [2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]  # lengths don't count
ROOT, BOTH = math.sqrt(2), pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])


def test_by_hand() -> None:
    # Teacher: east, north, west: distances sqrt 2, 2, sqrt 2; angles 45, 90, 45 degrees. Student: three axes of three
    # dimensions: distances all equal, angles all 60 degrees.
    student, teacher, mean = torch.eye(3).double(), torch.tensor([EAST, NORTH, WEST]).double(), (2 * ROOT + 2) / 3
    distance, angle = 2 * (1 - ROOT / mean) ** 2 + (1 - 2 / mean) ** 2, 2 * (ROOT / 2 - 0.5) ** 2 + 0.5**2
    assert rkd_distance(student, teacher).item() == pytest.approx(distance / 6, abs=1e-12)
    assert rkd_angle(student, teacher).item() == pytest.approx(angle / 6, abs=1e-12)


def test_cosines_more_than_one_apart_count_linearly() -> None:
    student = torch.tensor([EAST, NORTH, EAST], dtype=torch.double)
    teacher = torch.tensor([EAST, [1, math.sqrt(3)], [-1, math.sqrt(3)]], dtype=torch.double)
    # Teacher: 60 degrees on, cosines sqrt 3 / 2 at the ends and -1/2 between. Student: 0 at a duplicate, and 1 between.
    assert rkd_angle(student, teacher).item() == pytest.approx((2 * 0.75 / 2 + (1.5 - 0.5)) / 3, abs=1e-12)


@BOTH
def test_rotated_rescaled_and_wider_is_the_same(loss) -> None:
    torch.manual_seed(0)
    x, turn = torch.randn(7, 4).double(), torch.linalg.qr(torch.randn(6, 6).double()).Q[:4]
    assert loss(3 * x @ turn, x).item() < 1e-12 < loss(x.flip(0), x).item()


@BOTH
def test_gradients_and_duplicates(loss) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3).double().requires_grad_(), torch.randn(5, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), student)
    assert rkd_angle(student, teacher, chunk=2).item() == pytest.approx(rkd_angle(student, teacher).item())
    twice = student.detach()[[0, 0, 1, 2]].requires_grad_()
    loss(twice, teacher[:4]).backward()
    assert twice.grad is not None and twice.grad.isfinite().all() and twice.grad.norm() < 10 and teacher.grad is None
    with pytest.raises(ValueError, match="at least"):
        loss(student[:1], teacher[:1])
