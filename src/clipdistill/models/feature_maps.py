"""Maps of features inside an image tower, level by level, and what lies under a box of the picture in one of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipdistill.errors import UserError

LEAST_SIDE = 12
"""Cells that a map must have a side to be taken where no level is asked for: things are some cells large on it. Of a
picture of 224 pixels, the map of a ResNet that detectors pool from has 14. docs/results.md has what probes read."""
SAMPLES = 2
"""Points of a bin, a side, whose mean the bin is."""


@dataclass(frozen=True, slots=True)
class MapLevel:
    """One map: its number, first the one nearest to the pixels, and its shape."""

    number: int
    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.number}: {self.channels} x {self.height} x {self.width}"


def map_levels(visual: Any, size: tuple[int, int], name: str) -> list[MapLevel]:
    """The maps that an open_clip image tower has, from pixels to the last block.

    Args:
        visual: open_clip's VisionTransformer, ModifiedResNet or TimmModel. size: of its pictures. name: for errors.

    Raises:
        UserError: a tower that gives none.
    """
    weight = next(visual.parameters())
    pixels = torch.zeros(1, 3, *size, dtype=weight.dtype, device=weight.device)
    try:
        with torch.inference_mode():
            shapes = [tuple(each.shape[1:]) for each in layer_maps(visual, pixels)[0]]
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, AssertionError):
        shapes = []
    if not shapes or any(len(shape) != 3 for shape in shapes):
        raise UserError(f"model '{name}': its image tower gives no maps of features; use `features: crops`")
    return [MapLevel(number, *shape) for number, shape in enumerate(shapes)]


def chosen_level(levels: list[MapLevel], number: int | None, name: str) -> MapLevel:
    """The level that is asked for; with None the deepest map of at least 12 x 12 cells, else the deepest of the finest.

    Raises:
        UserError: there is no such level; names those that there are.
    """
    if number is None:
        sides = [min(level.height, level.width) for level in levels]
        least = min(LEAST_SIDE, max(sides))
        return [level for level, side in zip(levels, sides, strict=True) if side >= least][-1]
    if not 0 <= number < len(levels):
        there = ", ".join(map(str, levels))
        raise UserError(f"`level`: '{name}' has no map {number}; it has (channels x height x width) {there}")
    return levels[number]


def before_the_last(levels: Sequence[MapLevel]) -> int:
    """The level that a language model reads: LLaVA's "layer before the last".

    Of equal blocks (a transformer) that is the last but one, the last being shaped by the pooling behind it. Where
    levels are stages of several blocks each (a CNN), it is the last stage, before it is pooled.
    """
    return max(0, len(levels) - 2) if _are_blocks(levels) else len(levels) - 1


def layer_names(levels: Sequence[MapLevel]) -> list[str]:
    """`block 0`, `block 1`, ... of a transformer, `stage 0`, ... of a CNN."""
    return [f"{'block' if _are_blocks(levels) else 'stage'} {level.number}" for level in levels]


def _are_blocks(levels: Sequence[MapLevel]) -> bool:
    """Whether all levels have one shape, as a transformer's blocks have and a CNN's stages haven't."""
    return len({(level.channels, level.height, level.width) for level in levels}) == 1


def image_map(visual: Any, pixels: Tensor, number: int) -> Tensor:
    """Map `number` of normalised pixels [B, 3, H, W] -> [B, C, h, w]; blocks behind it aren't run."""
    return layer_maps(visual, pixels, number)[0][-1]


def layer_maps(visual: Any, pixels: Tensor, number: int | None = None) -> tuple[list[Tensor], list[Tensor] | None]:
    """What the layers of an image tower give: each block of a transformer, each stage of a CNN; no final norm.

    Args:
        visual: open_clip's VisionTransformer, ModifiedResNet or TimmModel. pixels: normalised, [B, 3, H, W].
        number: of the only map that is wanted, behind which nothing is run; None = all.

    Returns:
        Maps [B, C, h, w], first the one nearest to the pixels; and the tokens that belong to no place (class token,
        registers), [B, P, C] for each map, or None for a tower without.
    """
    which = {} if number is None else {"indices": [number], "stop_early": True}
    apart = _has_tokens_apart(visual)
    found = visual.forward_intermediates(pixels, intermediates_only=True, output_extra_tokens=apart, **which)
    return found["image_intermediates"], found.get("image_intermediates_prefix")


def _has_tokens_apart(visual: Any) -> bool:
    """Whether tokens of no place can be asked for: timm's CNNs don't know the question."""
    trunk = getattr(visual, "trunk", None)
    if trunk is None:
        return True  # open_clip's own towers; a ResNet answers with none
    known = "return_prefix_tokens" in inspect.signature(trunk.forward_intermediates).parameters
    return known and bool(getattr(trunk, "num_prefix_tokens", 0))


def pool_boxes(maps: Tensor, boxes: Tensor, owner: Tensor, *, bins: int = 2, pad: float = 1.1) -> Tensor:
    """What maps hold under boxes (RoIAlign; He et al. 2017, section 3): each box is cut into bins x bins equal bins.

    A bin is the mean of 2 x 2 points, each drawn between the four cells around it.

    Args:
        maps: [B, C, h, w]. boxes: float [n, 4], x1 y1 x2 y2 as shares of the picture's width and height, which the map
            covers as a whole. owner: int64 [n], which picture each belongs to.
        bins: a side. pad: how much wider and higher a box is made about its middle, so that what surrounds it is seen;
            it is cut to the picture.

    Returns:
        float32 [n, C * bins * bins], channel by channel, bins row by row.
    """
    from torchvision.ops import roi_align

    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * pad
    wider = torch.cat([middle - half, middle + half], dim=1).clamp(0, 1)
    height, width = maps.shape[-2:]
    cells = wider * wider.new_tensor([width, height, width, height])
    rois = torch.cat([owner.to(cells)[:, None], cells], dim=1).float()
    pooled: Tensor = roi_align(maps.float(), rois, bins, sampling_ratio=SAMPLES, aligned=True)
    return pooled.flatten(1)
