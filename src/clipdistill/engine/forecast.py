"""What a run will cost, from one step made on the side: time, memory, disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward, frozen_statistics
from clipdistill.engine.micro_batches import batch_size, moved, split
from clipdistill.engine.throughput import peak_memory
from clipdistill.models.measures import counted_flops
from clipdistill.recipe import TrainSpec
from clipdistill.tasks.base import Task


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
            best = min(best, seconds_of(lambda: backward(task, batch, ranks, micro, autocast), ranks.device))
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


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Leave as they were which parameters take a gradient, and which modules train: a dry task freezes some."""
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for parameter, flag in asked:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds that `work` takes, the device's share included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
