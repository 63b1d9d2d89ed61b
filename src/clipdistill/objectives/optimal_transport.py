"""Words and regions aligned by optimal transport (UNITER, 2020; IPOT, 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clipdistill.objectives.rows import full_precision

EPS = 1e-5
"""Least norm that a vector is divided by."""


@full_precision
def transport_distance(
    words: Tensor, regions: Tensor, word_mask: Tensor, region_mask: Tensor, *,
    beta: float = 0.5, iterations: int = 50, inner: int = 1,
) -> Tensor:  # fmt: skip
    """What it costs to move a text's words onto its picture's regions: sum(plan * (1 - cosine)).

    Every word of a text weighs as much as any other, and so does every region. The plan is a constant: the gradient is
    that of the costs under it.

    Args:
        words [B, L, D], regions [B, M, D]: what the model makes of them.
        word_mask bool [B, L], region_mask bool [B, M]: True = not padding. What stands in padding changes nothing.
        beta, iterations, inner: of `transport_plan`.

    Returns:
        [B], from 0 to 2, float32 or wider; 0 where a pair has no word or no region.

    Raises:
        ValueError: shapes that don't belong together.

    Source: UNITER, section 3.2 (word-region alignment), values of its released code.
    """
    shapes = [list(value.shape) for value in (words, regions, word_mask, region_mask)]
    if words.ndim != 3 or regions.ndim != 3 or words.shape[::2] != regions.shape[::2]:
        raise ValueError(f"words and regions must be [B, L, D] and [B, M, D], got {shapes[0]} and {shapes[1]}")
    if shapes[2] != shapes[0][:2] or shapes[3] != shapes[1][:2]:
        raise ValueError(f"masks must be [B, L] and [B, M], got {shapes[2]} and {shapes[3]}")
    wide = torch.promote_types(words.dtype, torch.float32)
    unit_words, unit_regions = (F.normalize(value.to(wide), dim=-1, eps=EPS) for value in (words, regions))
    cost = 1 - unit_words @ unit_regions.transpose(1, 2)
    cost = cost.masked_fill(~(word_mask[:, :, None] & region_mask[:, None, :]), 0.0)
    plan = transport_plan(cost.detach(), word_mask, region_mask, beta=beta, iterations=iterations, inner=inner)
    distance: Tensor = (cost * plan).sum(dim=(1, 2))
    return distance


@torch.no_grad()
@full_precision
def transport_plan(
    cost: Tensor, rows: Tensor, columns: Tensor, *, beta: float = 0.5, iterations: int = 50, inner: int = 1
) -> Tensor:
    """The plan that moves even weights on the rows to even weights on the columns at least cost, by proximal steps.

    Each step multiplies the plan by exp(-cost / beta) and scales columns and rows towards their sums, `inner` times.

    Args:
        cost: [B, L, M]. rows: bool [B, L]; columns: bool [B, M]; True = takes part.
        beta: strength of a step's pull towards the plan before it; the smaller, the faster and the less stable.

    Returns:
        [B, L, M] of at least 0: over the columns it sums to 1 / rows, for each row that takes part; over the rows to
        about 1 / columns. 0 where either takes no part.

    Source: IPOT ("A Fast Proximal Point Method for Computing Exact Wasserstein Distance", 2019), algorithm 1.
    """
    taken = (rows[:, :, None] & columns[:, None, :]).to(cost.dtype)
    share_of_rows = rows / rows.sum(dim=1, keepdim=True).clamp_min(1)
    share_of_columns = columns / columns.sum(dim=1, keepdim=True).clamp_min(1)
    pull, plan, by_row = torch.exp(-cost / beta) * taken, taken, share_of_rows.to(cost.dtype)
    tiny = torch.finfo(cost.dtype).tiny
    for _ in range(iterations):
        pulled = pull * plan
        for _ in range(inner):
            by_column = share_of_columns / torch.einsum("blm,bl->bm", pulled, by_row).clamp_min(tiny)
            by_row = share_of_rows / torch.einsum("blm,bm->bl", pulled, by_column).clamp_min(tiny)
        plan = by_row[:, :, None] * pulled * by_column[:, None, :]
    return plan
