"""Relational distillation as a task, against its definition pair by pair and triplet by triplet."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from torch import Tensor, stack
from torch.nn.functional import normalize, smooth_l1_loss

from clipdistill.errors import UserError
from clipdistill.tasks.rkd import RKD
from tests.tiny import TinyStudent, TinyTeacher, make_batch


def relations(x: Tensor) -> dict[str, Tensor]:
    far = stack([(a - b).norm() for a, b in combinations(x, 2)])
    angles = [normalize(a - b, dim=0) @ normalize(c - b, dim=0) for a, b, c in permutations(x, 3)]
    return {"distance": far / far.mean(), "angle": stack(angles)}


def test_terms_by_definition_with_a_wider_teacher() -> None:
    task = RKD(TinyStudent(6), [TinyTeacher(9)]).double()
    features = task.encode(make_batch(5)) | task.targets(make_batch(5))
    losses = task.batch_losses(features)
    own, taught = ([relations(normalize(features[who + x])) for x in ("image", "text")] for who in ("", "teacher0/"))
    for term in ("distance", "angle"):
        expected = sum(smooth_l1_loss(a[term], b[term]).item() for a, b in zip(own, taught, strict=True))
        assert losses[term].item() == pytest.approx(expected) and losses["task"] > 0
    with pytest.raises(UserError, match="train.batch_size"):
        task.batch_losses({name: rows[:2] for name, rows in features.items()})
