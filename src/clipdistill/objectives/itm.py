"""Image-text matching with hard negatives (BLIP, 2022; DCLIP, 2025, appendix E)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hard_negatives(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Draw for each picture one text other than its own, the likelier the more similar it is.

    Args:
        image, text: [B, D], un-normalised; row i of each belongs together; B of at least 2. scale: of the cosines.

    Returns:
        int64 [B], never the row's own number; drawn from torch's generator, so seeds decide.

    Raises:
        ValueError: a single pair has no negative.
    """
    if len(image) < 2:
        raise ValueError("hard negatives need at least two pairs")
    logits = F.normalize(image.detach().float(), dim=1) @ F.normalize(text.detach().float(), dim=1).T * scale
    shares = logits.fill_diagonal_(-torch.inf).softmax(dim=1) + 1e-6
    return torch.multinomial(shares.fill_diagonal_(0.0), 1).squeeze(1)


def matching_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Cross-entropy of a head that tells pairs from mismatches.

    Args:
        positive: logits [B, 2] of true pairs; negative: logits [M, 2] of mismatches. Column 1 means "belongs together".
    """
    logits = torch.cat([positive, negative])
    label = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).long().to(logits.device)
    return F.cross_entropy(logits, label)
