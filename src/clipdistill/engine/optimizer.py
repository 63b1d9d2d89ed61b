"""AdamW over a task's trainable parameters, the learning-rate schedule, and the averaged student."""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor, nn

from clipdistill.recipe import TrainSpec
from clipdistill.tasks.base import Task


def make_optimizer(task: Task, settings: TrainSpec) -> torch.optim.AdamW:
    """AdamW with one group for each (lr scale, decay or not); norms, biases and scales don't decay.

    Raises:
        ValueError: the task has nothing to train.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for item in task.trainable():
        groups[item.lr_scale, item.decay].append(item.parameter)
    if not groups:
        raise ValueError("nothing to train: every parameter of the task is frozen")
    return torch.optim.AdamW(
        [
            {"params": group, "weight_decay": settings.weight_decay if decay else 0.0, "lr_scale": scale}
            for (scale, decay), group in groups.items()
        ],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        fused=True,
    )


def learning_rate(step: int, total: int, settings: TrainSpec) -> float:
    """The rate of optimizer step `step` (from 0): linear warm-up, then cosine to `min_lr` or constant.

    The warm-up ends at `warmup_steps`, or at the last step of a run that is shorter.
    """
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.lr
    progress = (step - settings.warmup_steps) / max(1, total - settings.warmup_steps)
    return settings.min_lr + 0.5 * (settings.lr - settings.min_lr) * (1 + math.cos(math.pi * min(1.0, progress)))


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
