"""How much each region of a picture counts (DCLIP, 2025, section 3.1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def region_weights(regions: Tensor, mask: Tensor, scores: Tensor, areas: Tensor, text: Tensor) -> Tensor:
    """Weigh regions by detector confidence, box area and cosine similarity to the caption.

    The paper names the three and gives no formula. Here a region's raw weight is the product

        confidence * 4 a (1 - a) * (1 + cos) / 2,    with 4 a (1 - a) taken as 1 for a whole-picture region (a = 1),

    so that specks and boxes as large as the picture, which say little, count less ("irrelevant background or foreground
    content"), and a region opposed to the caption counts nothing. Raw weights are scaled to a mean of 1 over the
    regions of a picture, so that a picture with one region keeps its embedding.

    Args:
        regions [B, M, D], mask bool [B, M] (True = a region), scores in [0, 1] and areas in (0, 1] [B, M] (shares of
        the picture), text [B, D].

    Returns:
        [B, M] weights, 0 where there is no region; no gradient flows through them.
    """
    similarity = (1 + cosine_similarity(regions, text[:, None], dim=-1)) / 2
    size = (4 * areas * (1 - areas)).masked_fill(areas >= 1, 1.0)
    raw = (scores * size * similarity).clamp_min(1e-6) * mask
    count = mask.sum(dim=1, keepdim=True).clamp_min(1)
    weights: Tensor = (raw * count / raw.sum(dim=1, keepdim=True).clamp_min(1e-12)).detach()
    return weights
