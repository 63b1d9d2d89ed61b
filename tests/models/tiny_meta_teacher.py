"""A small meta-teacher in double precision, and random inputs for it."""

from __future__ import annotations

import torch
from torch import Tensor

from clipdistill.models.meta_teacher import MetaTeacher

WIDTH = 16


def inputs(regions: int = 3, words: int = 4) -> list[Tensor]:
    torch.manual_seed(0)
    there = torch.ones(2, regions, dtype=torch.bool)
    return [
        torch.randn(2, regions, WIDTH).double(),
        there,
        torch.rand(2, regions).double(),
        torch.rand(2, regions).double() * 0.8,
        torch.randn(2, words, WIDTH).double(),
        torch.ones(2, words, dtype=torch.bool),
        torch.randn(2, WIDTH).double(),
    ]


def teacher(**options: object) -> MetaTeacher:
    torch.manual_seed(1)
    return MetaTeacher(WIDTH, heads=4, **options).double()  # type: ignore[arg-type]
