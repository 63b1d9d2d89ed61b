"""How fast models are beside each other: the same batch, in turn, so that a busy machine slows them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch

from clipdistill.evaluate.embed import inference

LEAST_ROUNDS, MOST_ROUNDS, SECONDS = 5, 25, 2.0
"""Rounds that are timed: at least so many, then more until so many seconds are spent, but no more than so many."""
UNSTEADY = 1.5
"""Two models' ratio in the middle half of the rounds, the most over the least, from which it is none to print."""


def batch_of(device: str | torch.device) -> int:
    """Pictures at once: enough to fill an accelerator, few enough for a large teacher on a CPU."""
    return 64 if torch.device(device).type == "cuda" else 16


def side_by_side(
    models: Mapping[str, tuple[Any, Callable[[], Any]]], device: str | torch.device, pictures: int
) -> dict[str, dict[str, Any]]:
    """Time each model's step on `pictures` pictures, round by round, after one that isn't counted.

    Args:
        models: by role, a model that lies on `device`, and a step that waits for the device.

    Returns:
        By role `images_per_second`, of the median round, and `speed`: `{"pictures", "seconds"}`, the seconds of every
        round in order, so that rounds of two models can be paired.
    """
    seconds: dict[str, list[float]] = {role: [] for role in models}
    with ExitStack() as stack:
        for model, _ in models.values():
            stack.enter_context(inference(model, device))
        for _, step in models.values():
            step()
        began = time.perf_counter()
        for number in range(MOST_ROUNDS):
            if number >= LEAST_ROUNDS and time.perf_counter() - began > SECONDS:
                break
            for role, (_, step) in models.items():
                start = time.perf_counter()
                step()
                seconds[role].append(time.perf_counter() - start)
    return {
        role: {
            "images_per_second": pictures / statistics.median(found),
            "speed": {"pictures": pictures, "seconds": found},
        }
        for role, found in seconds.items()
    }


def times_as_fast(own: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """How many times as fast one model is as another, by the `speed` of each.

    The median, and the least and most of the middle half of the rounds.

    None where the rounds can't be paired, or are too unsteady to say.
    """
    pairs = list(zip(own.get("seconds") or (), other.get("seconds") or (), strict=False))
    if len(pairs) < LEAST_ROUNDS or own.get("pictures") != other.get("pictures"):
        return None
    ratios = sorted(theirs / ours for ours, theirs in pairs if ours > 0)
    quarter = len(ratios) // 4
    middle = ratios[quarter : len(ratios) - quarter]  # a round in which something else ran is no speed of theirs
    if not middle or middle[-1] > UNSTEADY * middle[0]:
        return None
    return statistics.median(ratios), middle[0], middle[-1]
