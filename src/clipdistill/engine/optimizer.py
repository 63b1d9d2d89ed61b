"""AdamW or SGD over a task's trainable parameters, the learning-rate schedule, and the averaged student."""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor, nn

from clipdistill.recipe import TrainSpec
from clipdistill.tasks.base import Task


def make_optimizer(task: Task, settings: TrainSpec) -> torch.optim.Optimizer:
    """The optimizer with one group for each (lr scale, decay or not); norms, biases and scales don't decay.

    Raises:
        ValueError: the task has nothing to train.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for item in task.trainable():
        groups[item.lr_scale, item.decay].append(item.parameter)
    if not groups:
        raise ValueError("nothing to train: every parameter of the task is frozen")
    parts = [
        {"params": group, "weight_decay": settings.weight_decay if decay else 0.0, "lr_scale": scale}
        for (scale, decay), group in groups.items()
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parts, lr=settings.lr, momentum=settings.momentum, fused=True)
    return torch.optim.AdamW(parts, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)


def learning_rate(step: int, total: int, settings: TrainSpec, steps_per_epoch: int = 1) -> float:
    """The rate of optimizer step `step` (from 0): linear warm-up, then what `schedule` says.

    The warm-up ends at `warmup_steps`, or at the last step of a run that is shorter. `cosine` and `linear` go down to
    `min_lr` at the last step; `steps` multiplies by `decay` after each of `decay_epochs`, in the warm-up too.
    """
    rate = settings.lr
    if settings.schedule == "steps":
        rate *= settings.decay ** sum(step >= epoch * steps_per_epoch for epoch in settings.decay_epochs)
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule in ("constant", "steps"):
        return rate
    progress = min(1.0, (step - settings.warmup_steps) / max(1, total - settings.warmup_steps))
    left = 1 - progress if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return settings.min_lr + (rate - settings.min_lr) * left


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set `rate`, scaled by each group's own lr scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


class Average:
    """Exponential moving average of a student's parameters; buffers are copied."""

    def __init__(self, student: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {k: v.detach().clone() for k, v in student.state_dict().items()}

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move towards the student as it is now."""
        for name, value in student.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value.detach(), 1 - self.decay)
            else:
                self.values[name].copy_(value)
