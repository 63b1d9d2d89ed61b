"""Rates, decay groups and the averaged student, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from clipdistill.engine.optimizer import Average, learning_rate, make_optimizer, set_learning_rate
from clipdistill.recipe import TrainSpec
from clipdistill.tasks import Contrastive
from tests.tiny import TinyStudent


def test_warm_up_then_cosine() -> None:
    settings = TrainSpec(lr=1.0, warmup_steps=4, min_lr=0.1, batch_size=1)
    rates = [learning_rate(step, 12, settings) for step in range(12)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[4] == 1.0
    assert rates[8] == pytest.approx(0.1 + 0.9 / 2)  # half way down
    assert rates[11] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 7 / 8)))


def test_constant_after_warm_up() -> None:
    settings = TrainSpec(lr=1.0, warmup_steps=2, schedule="constant")
    assert [learning_rate(step, 10, settings) for step in (0, 1, 5, 9)] == [0.5, 1.0, 1.0, 1.0]


def test_norms_biases_and_scales_do_not_decay() -> None:
    task = Contrastive(TinyStudent(norm=True, bias=True))
    task.student.words.weight.requires_grad_(False)
    groups = make_optimizer(task, TrainSpec(weight_decay=0.3)).param_groups
    decay = {group["weight_decay"]: {id(p) for p in group["params"]} for group in groups}
    student = task.student
    assert decay[0.3] == {id(student.image[0].weight), id(student.image[4].weight), id(student.text[2].weight)}
    free = {student.log_logit_scale, student.logit_bias, student.image[1].weight, student.image[1].bias}
    assert {id(p) for p in free} <= decay[0.0]
    assert id(student.words.weight) not in decay[0.3] | decay[0.0]  # frozen


def test_scaled_rates() -> None:
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))], "lr_scale": 0.1}], lr=1.0)
    set_learning_rate(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_nothing_to_train_is_an_error() -> None:
    task = Contrastive(TinyStudent().requires_grad_(False))
    with pytest.raises(ValueError, match="nothing to train"):
        make_optimizer(task, TrainSpec())


def test_average_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    average = Average(layer, 0.9)
    for value in (2.0, 3.0):
        layer.weight.data.fill_(value)
        average.update(layer)
    assert average.values["weight"].item() == pytest.approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 3)
    assert layer.weight.item() == 3.0
