"""Random states: taken and put back, so that a replay or a resumed run draws the same numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def device_states() -> list[Tensor]:
    """States of torch's generators: the CPU's, then each visible GPU's."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


def restore_device_states(states: list[Tensor]) -> None:
    """Put back what `device_states` took."""
    torch.set_rng_state(states[0].cpu())
    if len(states) > 1:
        torch.cuda.set_rng_state_all([state.cpu() for state in states[1:]])


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Let torch draw from `seed` inside the block; what is drawn after it is as if nothing had been drawn in it."""
    states = device_states()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore_device_states(states)


def all_states() -> dict[str, Any]:
    """States of every generator of this process, as tensors and plain values (so `weights_only` loading works)."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    return {
        "torch": device_states(),
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": [version, list(words), gauss],
    }


def restore_all_states(states: dict[str, Any]) -> None:
    """Put back what `all_states` took."""
    restore_device_states(states["torch"])
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed every generator; ranks differ, so that their dropout does."""
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)
    torch.manual_seed(seed + rank)
