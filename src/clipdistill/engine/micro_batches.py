"""A batch cut into micro-batches, and moved to a device, whatever it holds: tensors, lists, dicts of them, nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

REPORT = "bad"
"""The loader's entry on samples that others stand in for: it tells of the batch, and isn't part of its samples."""

UNCUT = (str, bytes, int, float, bool, type(None))
"""What is the same for every sample of a batch."""


def batch_size(batch: Mapping[str, Any]) -> int:
    """How many samples a batch holds: the length of its first tensor.

    Raises:
        ValueError: it holds none.
    """
    for value in batch.values():
        if isinstance(value, Tensor) and value.ndim:
            return len(value)
    raise ValueError("a batch without a tensor has no size")


def split(batch: Mapping[str, Any], micro_batch: int | None) -> list[dict[str, Any]]:
    """Cut a batch into micro-batches of equal size.

    Tensors, lists and tuples are cut along their first axis, which must be the batch; dicts entry by entry; numbers,
    text and None go into every part as they are. The loader's report of bad samples is left out.

    Raises:
        ValueError: the batch can't be cut into equal parts of that size, or an entry can't be cut (it is named).
    """
    size = batch_size(batch)
    step = micro_batch or size
    if size % step:
        raise ValueError(f"a batch of {size} can't be cut into micro-batches of {step}")
    return [
        {name: _cut(name, value, slice(start, start + step), size) for name, value in batch.items() if name != REPORT}
        for start in range(0, size, step)
    ]


def _cut(name: str, value: Any, part: slice, size: int) -> Any:
    if isinstance(value, UNCUT):
        return value
    if isinstance(value, Mapping):
        return {key: _cut(f"{name}.{key}", inner, part, size) for key, inner in value.items()}
    if isinstance(value, Tensor) and not value.ndim:
        return value
    if isinstance(value, Tensor | list | tuple):
        if len(value) != size:
            raise ValueError(f"`{name}` has {len(value)} entries in a batch of {size}, so it can't be cut with it")
        return value[part]
    raise ValueError(f"`{name}` is a {type(value).__name__}, which can't be cut into micro-batches")


def moved(value: Any, device: torch.device) -> Any:
    """The same value with every tensor in it on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: moved(inner, device) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(moved(inner, device) for inner in value)
    return value
