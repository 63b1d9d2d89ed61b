"""Semantic clusters of a picture's regions, and the temperature-scaled pooling within them."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def assign_clusters(regions: Tensor, mask: Tensor, clusters: int, steps: int = 10) -> Tensor:
    """K-means by cosine over the regions of each picture.

    Deterministic: the first centre is the picture's first region (the surest one), each further centre the region
    farthest from those there are. Assignments carry no gradient; what is pooled within a cluster does.

    Args:
        regions [B, M, D], mask bool [B, M].

    Returns:
        int64 [B, M] cluster numbers below `clusters`; a picture with fewer regions leaves clusters empty.
    """
    unit = torch.nn.functional.normalize(regions, dim=-1)
    centres = unit[:, :1]
    for _ in range(clusters - 1):
        nearest = (unit @ centres.transpose(1, 2)).amax(dim=-1).masked_fill(~mask, 2.0)
        farthest = nearest.argmin(dim=1)
        centres = torch.cat([centres, unit[torch.arange(len(unit)), farthest][:, None]], dim=1)
    assigned = (unit @ centres.transpose(1, 2)).argmax(dim=-1)
    for _ in range(steps):
        member = torch.nn.functional.one_hot(assigned, clusters).to(unit.dtype) * mask[..., None]
        total = member.transpose(1, 2) @ unit
        centres = torch.where(member.sum(1)[..., None] > 0, torch.nn.functional.normalize(total, dim=-1), centres)
        assigned = (unit @ centres.transpose(1, 2)).argmax(dim=-1)
    return assigned


def pool(tokens: Tensor, mask: Tensor, query: Tensor, temperature: float, prior: Tensor | None = None) -> Tensor:
    """Temperature-scaled attention pooling: softmax(cos(query, token) / temperature), the tokens' weighted mean.

    Args:
        tokens [B, N, D], mask bool [B, N], query [B, D]; prior [B, N]: weights that multiply the attention.

    Returns:
        [B, D]; 0 for a sample without tokens.
    """
    score = torch.nn.functional.cosine_similarity(tokens, query[:, None], dim=-1) / temperature
    weight = score.exp() * mask if prior is None else score.exp() * mask * prior
    weight = weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return (weight[..., None] * tokens).sum(dim=1)


def pool_clusters(
    tokens: Tensor, mask: Tensor, query: Tensor, temperature: float, clusters: int, assigned: Tensor, prior: Tensor
) -> Tensor:
    """Mean over a picture's clusters of what is pooled within each; arguments as in `pool` and `assign_clusters`."""
    pooled, there = [], []
    for cluster in range(clusters):
        members = mask & (assigned == cluster)
        pooled.append(pool(tokens, members, query, temperature, prior))
        there.append(members.any(dim=1))
    present = torch.stack(there, dim=1).to(tokens.dtype)
    return (torch.stack(pooled, dim=1) * present[..., None]).sum(dim=1) / present.sum(dim=1, keepdim=True).clamp_min(1)
