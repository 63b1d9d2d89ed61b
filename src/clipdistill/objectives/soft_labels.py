"""Learning a distribution over classes, such as a detector's of what a region is."""

from __future__ import annotations

import torch
from torch import Tensor

from clipdistill.objectives.rows import full_precision


@full_precision
def class_divergence(logits: Tensor, shares: Tensor) -> Tensor:
    """KL(shares || softmax(logits)) of each row, summed over its classes.

    Args:
        logits: [N, C]. shares: [N, C] of at least 0, rows summing to 1; hard labels are a 1 among zeros, and give the
            cross-entropy.

    Returns:
        [N] of at least 0, float32 or wider.

    Raises:
        ValueError: shapes that differ.

    Source: UNITER, section 3.2 (MRC-kl). Its released code takes the mean over classes too, which is a weight of 1 / C.
    VL-BERT's soft cross-entropy is this plus the entropy of `shares`: the same gradient.
    """
    if logits.ndim != 2 or logits.shape != shares.shape:
        raise ValueError(f"logits and shares must both be [N, C], got {list(logits.shape)} and {list(shares.shape)}")
    wide = torch.promote_types(logits.dtype, torch.float32)
    shares = shares.to(wide)
    found: Tensor = (torch.xlogy(shares, shares) - shares * logits.to(wide).log_softmax(dim=1)).sum(dim=1)
    return found
