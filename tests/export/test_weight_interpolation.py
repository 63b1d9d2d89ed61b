"""Weight-space interpolation: its ends, its middle, its errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clipdistill.errors import UserError
from clipdistill.export.interpolate import interpolate


class Tiny(nn.Module):
    def __init__(self, value: float, count: int, width: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), value, dtype=torch.float64))
        self.register_buffer("steps", torch.tensor(count))


def test_the_ends_are_the_models_and_the_middle_is_between() -> None:
    base, student = Tiny(1.0, 1), Tiny(3.0, 7)
    for alpha, expected in ((0.0, 1.0), (0.25, 1.5), (1.0, 3.0)):
        mixed = interpolate(base, student, alpha)  # type: ignore[arg-type]
        assert mixed.weight.tolist() == [expected] * 3 and int(mixed.steps) == 7
    assert base.weight[0] == 1 and student.weight[0] == 3


def test_other_shapes_and_other_alphas_are_refused() -> None:
    with pytest.raises(UserError, match="weight"):
        interpolate(Tiny(1, 1), Tiny(1, 1, 4), 0.5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="alpha"):
        interpolate(Tiny(1, 1), Tiny(1, 1), 1.5)  # type: ignore[arg-type]
