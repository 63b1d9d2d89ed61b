"""Rates, decay groups and the averaged student, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
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


def test_linear_after_warm_up() -> None:
    settings = TrainSpec(lr=1.0, warmup_steps=2, min_lr=0.2, schedule="linear")
    rates = [learning_rate(step, 10, settings) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0] and rates[6] == pytest.approx(0.2 + 0.8 * 0.5)


def test_steps_after_epochs_and_in_the_warm_up() -> None:
    settings = TrainSpec(lr=1.0, warmup_steps=4, schedule="steps", decay_epochs=[1, 2.5], decay=0.1)
    rates = [learning_rate(step, 100, settings, steps_per_epoch=4) for step in (0, 3, 4, 9, 10, 99)]
    assert rates == pytest.approx([0.25, 1.0, 0.1, 0.1, 0.01, 0.01])
    settings = TrainSpec(lr=1.0, warmup_steps=4, schedule="steps", decay_epochs=[1])
    assert learning_rate(2, 100, settings, steps_per_epoch=2) == pytest.approx(0.075)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"schedule": "steps"}, "belong together"),
        ({"decay_epochs": [3]}, "belong together"),
        ({"schedule": "steps", "decay_epochs": [3, 2]}, "must rise"),
    ],
)
def test_steps_are_said_once_and_in_order(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainSpec(**wrong)


def test_sgd_with_momentum_by_hand() -> None:
    task = Contrastive(TinyStudent())
    settings = TrainSpec(optimizer="sgd", lr=0.5, momentum=0.9, weight_decay=0.0)
    optimizer = make_optimizer(task, settings)
    weight = task.student.words.weight
    start = weight.detach().clone()
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert torch.allclose(start - weight, torch.full_like(weight, 0.5 * (1 + 1.9)))


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
