"""CLIP's own features as regions: the cells of its last grid, as CLIP-ViL (2021) gives them to fusion models."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.fusion.inputs import with_whole_image


def grid_regions(clip: DualEncoder, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Regions of a grid: the patches or cells of CLIP's image tower, row by row.

    With the gradient of the pixels' features, so that the tower can be fine-tuned along (CLIP-ViL).

    Args:
        pixels: uint8, or float in [0, 1]; [B, 3, H, W] at the size that the tower takes.

    Returns:
        features [B, N, C] in the tower's own width; boxes [B, N, 4] as shares of the picture; mask bool [B, N], all
        True.

    Raises:
        UserError: the tower's features are no square grid (CoCa's learnt queries).
    """
    _, cells = clip.image_tokens(pixels)
    boxes = grid_boxes(cells.shape[1], clip.name).to(cells).expand(len(cells), -1, 4)
    return cells, boxes, torch.ones(cells.shape[:2], dtype=torch.bool, device=cells.device)


def embedded_regions(clip: DualEncoder, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The picture's embedding alone as a region, which CLIP adapters read: [B, 1, D], boxes [B, 1, 4], mask [B, 1]."""
    image = clip.encode_image(pixels)
    none = image.new_zeros(len(image), 0, image.shape[1])
    return with_whole_image(
        none,
        image.new_zeros(len(image), 0, 4),
        torch.ones(none.shape[:2], dtype=torch.bool, device=image.device),
        image,
    )


def grid_boxes(cells: int, whose: str = "image tower") -> Tensor:
    """Boxes [cells, 4] of a square grid, row by row, as shares of the picture."""
    side = math.isqrt(cells)
    if side * side != cells or not cells:
        raise UserError(f"model '{whose}': its {cells} image features are no square grid; take another image tower")
    step = torch.arange(side) / side
    y, x = torch.meshgrid(step, step, indexing="ij")
    corner = torch.stack([x, y], dim=-1).flatten(0, 1)
    return torch.cat([corner, corner + 1 / side], dim=1)
