"""What every objective shares: checked, normalised features in full precision, and losses taken row by row."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(objective: Callable[P, R]) -> Callable[P, R]:
    """Switch autocast off inside `objective`.

    A logit is a cosine times a scale of up to 100: in bfloat16 its error would be about 0.2, larger than what a
    distillation loss is after. The matrices here are small beside the towers, so float32 costs nothing that matters.
    """

    @functools.wraps(objective)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(first.device.type, enabled=False):
            return objective(*args, **kwargs)

    return wrapped


def unit(features: Tensor, name: str = "features") -> Tensor:
    """L2-normalise `features` [B, D] along D; half precision is raised to float32 first.

    Raises:
        ValueError: not a floating-point matrix with at least one row and one column.
    """
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{name} must be a matrix [batch, dimension] that isn't empty, got {list(features.shape)}")
    if not features.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {features.dtype}")
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def unit_pair(image: Tensor, text: Tensor, whose: str = "") -> tuple[Tensor, Tensor]:
    """Normalise `image` and `text`, both [B, D], after checking that they pair up row by row."""
    names = f"{whose} image".strip(), f"{whose} text".strip()
    image, text = unit(image, names[0]), unit(text, names[1])
    same_shape(image, text, *names)
    return image, text


def same_shape(first: Tensor, second: Tensor, first_name: str, second_name: str) -> None:
    """Raise a ValueError that names both when two feature matrices differ in shape."""
    if first.shape != second.shape:
        raise ValueError(
            f"{first_name} and {second_name} must have the same shape, got {list(first.shape)} and {list(second.shape)}"
        )


def same_width(image: Tensor, text: Tensor, whose: str) -> None:
    """Raise a ValueError when images and texts of one model differ in width."""
    if image.shape[1] != text.shape[1]:
        raise ValueError(f"{whose} image and text must be of one width, got {image.shape[1]} and {text.shape[1]}")


def same_batch(student: Tensor, teacher: Tensor) -> None:
    """Raise a ValueError when student and teacher saw batches of different size (widths may differ)."""
    if len(student) != len(teacher):
        raise ValueError(f"student and teacher batches differ: {len(student)} and {len(teacher)} rows")


def as_scale(scale: Tensor | float, like: Tensor, name: str = "logit_scale") -> Tensor:
    """Return the exponentiated scale (the plain multiplier of cosines, 1 / temperature) as a scalar like `like`.

    Raises:
        ValueError: more than one element, or a plain number that isn't positive and finite (a tensor's value isn't
            looked at: that would make an accelerator wait).
    """
    if isinstance(scale, Tensor):
        if scale.numel() != 1:
            raise ValueError(f"{name} must hold one number, got shape {list(scale.shape)}")
        return scale.reshape(()).to(device=like.device, dtype=like.dtype)
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{name} must be positive and finite (it is exponentiated already), got {scale}")
    return torch.tensor(scale, device=like.device, dtype=like.dtype)


def mean_over_rows(
    row_losses: Callable[..., Tensor], rows: tuple[Tensor, ...], whole: tuple[Tensor, ...], chunk: int | None
) -> Tensor:
    """Return the mean over the batch of `row_losses(start, *rows[start:stop], *whole) -> [stop - start]`.

    Args:
        rows: tensors of B rows each, cut into chunks; row i of a chunk is row `start + i` of the batch.
        whole: tensors that each chunk sees whole (the contrast side, scales).
        chunk: rows at a time, None for all. With a chunk, the graph of a block is thrown away and computed again in
            the backward pass, so that nothing larger than [chunk, B] ever lives.
    """
    batch = len(rows[0])
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    if chunk is None or chunk >= batch:
        return row_losses(0, *rows, *whole).mean()
    sums = []
    for start in range(0, batch, chunk):
        block = tuple(tensor[start : start + chunk] for tensor in rows)
        sums.append(
            checkpoint(_block_sum, row_losses, start, *block, *whole, use_reentrant=False, preserve_rng_state=False)
        )
    return torch.stack(sums).sum() / batch


def _block_sum(row_losses: Callable[..., Tensor], start: int, *tensors: Tensor) -> Tensor:
    return row_losses(start, *tensors).sum()
