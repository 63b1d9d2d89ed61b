"""What a run will cost, from one step made on the side: time, memory, disk."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward, frozen_statistics
from clipdistill.engine.micro_batches import batch_size, moved, split
from clipdistill.engine.throughput import peak_memory
from clipdistill.models.measures import counted_flops
from clipdistill.recipe import TrainSpec
from clipdistill.tasks.base import Task


class DryTeacher:
    """Stands for a teacher whose store isn't written yet: targets of the right shape."""

    def __init__(self, name: str, embed_dim: int, logit_scale: float) -> None:
        self.name, self.embed_dim, self.logit_scale = name, embed_dim, logit_scale

    def targets(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Noise: [B, D] for image and text."""
        sample = batch["sample"]
        shape = (len(sample), self.embed_dim)
        return {"image": torch.randn(shape, device=sample.device), "text": torch.randn(shape, device=sample.device)}


def time_step(
    task: Task, batch: Mapping[str, Any], ranks: Ranks, settings: TrainSpec, repeats: int = 2
) -> dict[str, float]:
    """Run forward and backward on a batch, without a trace: no step, no statistics, no random number is kept.

    Returns:
        `seconds` of a step (the fastest try, without the optimizer's share) and `memory_bytes`, the process's peak
        with the optimizer's two moments added.
    """
    autocast = partial(torch.autocast, ranks.device.type, torch.bfloat16, enabled=settings.precision == "bf16")
    local = settings.batch_size // ranks.world_size
    micro = settings.micro_batch if settings.micro_batch and settings.micro_batch < local else None
    batch = moved(batch, ranks.device)
    best = float("inf")
    with no_trace(task, ranks.device):
        for _ in range(repeats):
            if ranks.device.type == "cuda":
                torch.cuda.synchronize(ranks.device)
            start = time.perf_counter()
            backward(task, batch, ranks, micro, autocast)
            if ranks.device.type == "cuda":
                torch.cuda.synchronize(ranks.device)
            best = min(best, time.perf_counter() - start)
            task.zero_grad(set_to_none=True)
    moments = 2 * sum(t.parameter.numel() * t.parameter.element_size() for t in task.trainable())
    return {"seconds": best, "memory_bytes": peak_memory(ranks.device) + moments}


def forward_flops(task: Task, batch: Mapping[str, Any], ranks: Ranks, pairs: int = 8) -> float:
    """Forward FLOPs a pair that a step really spends on the student: towers whose features are kept cost nothing."""
    part = moved(split(batch, math.gcd(pairs, batch_size(batch)))[0], ranks.device)
    with no_trace(task, ranks.device), torch.no_grad():
        task.forward_once(part)  # what a locked tower keeps is kept after this
        with counted_flops() as counter:
            task.forward_once(part)
    return float(counter.get_total_flops()) / len(part["sample"])


@contextmanager
def no_trace(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Leave random states, running statistics and the mode of `module` as they were."""
    devices = [device] if device.type == "cuda" else []
    training = module.training
    with torch.random.fork_rng(devices=devices), frozen_statistics(module):
        module.train()
        try:
            yield
        finally:
            module.train(training)
