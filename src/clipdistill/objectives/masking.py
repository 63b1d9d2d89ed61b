"""Hiding random patches of images, for masked feature distillation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mask_patches(
    pixels: Tensor,
    patch: int,
    ratio: float,
    *,
    generator: torch.Generator | None = None,
    noise: Tensor | None = None,
    fill: float | Sequence[float] = 0.0,
) -> Tensor:
    """Return a copy of `pixels` with `round(ratio * patches)` square patches of each image replaced by `fill`.

    Each image draws its own patches; the number is exactly the same for all. The mask is on the pixels, so it works
    for any image tower (CLIP-KD masks ViT tokens and convolutional networks in one way too).

    Args:
        pixels: [B, C, H, W], floating point, in [0, 1] or normalised.
        patch: side of a patch in pixels; H and W must be multiples of it.
        ratio: share of patches to hide, in [0, 1]; CLIP-KD uses 0.75.
        generator: draws the mask (its device is where it draws).
        noise: [B, H/patch * W/patch] instead of a draw: the patches with the smallest values are hidden. Lets a mask
            be replayed.
        fill: one number or one a channel, in the units of `pixels`: 0 for normalised pixels (the mean colour), the
            preprocessing's mean for pixels in [0, 1].

    Raises:
        ValueError: shapes, ratio or dtype that don't fit.
    """
    if pixels.ndim != 4 or not pixels.is_floating_point():
        raise ValueError(f"pixels must be floating point [B, C, H, W], got {pixels.dtype} {list(pixels.shape)}")
    batch, channels, height, width = pixels.shape
    if patch < 1 or height % patch or width % patch:
        raise ValueError(f"patch {patch} doesn't divide images of {height} x {width}")
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be between 0 and 1, got {ratio}")
    rows, columns = height // patch, width // patch
    if noise is None:
        device = generator.device if generator is not None else pixels.device
        noise = torch.rand(batch, rows * columns, generator=generator, device=device)
    elif noise.shape != (batch, rows * columns):
        raise ValueError(f"noise must have shape {[batch, rows * columns]}, got {list(noise.shape)}")
    hidden = noise.to(pixels.device).argsort(dim=1, stable=True)[:, : round(ratio * rows * columns)]
    mask = torch.zeros(batch, rows * columns, dtype=torch.bool, device=pixels.device).scatter_(1, hidden, True)
    mask = mask.view(batch, 1, rows, columns)
    mask = mask.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)
    colour = torch.as_tensor(fill, device=pixels.device, dtype=pixels.dtype)
    if colour.ndim and colour.shape != (channels,):
        raise ValueError(f"fill must be one number or {channels} numbers, got shape {list(colour.shape)}")
    return torch.where(mask, colour.view(1, -1, 1, 1), pixels)
