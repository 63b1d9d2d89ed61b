"""Image-text matching with hard negatives (BLIP, 2022; DCLIP, 2025, appendix E)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clipdistill.objectives.rows import as_scale, full_precision, unit_pair


@full_precision
def hard_negatives(image: Tensor, text: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """Draw for each picture a wrong text, and for each text a wrong picture, the likelier the more similar.

    The probabilities are the softmax of the cosines times `scale` over the B - 1 others (and 1e-6 each, so that none is
    impossible), for a picture over the texts, for a text over the pictures.

    Args:
        image, text: [B, D], un-normalised; row i of each belongs together; B of at least 2. scale: of the cosines.

    Returns:
        texts int64 [B], a text's number for each picture; pictures int64 [B], a picture's number for each text. Never
        the row's own number; drawn from torch's generator, so seeds decide.

    Raises:
        ValueError: a single pair has no negative.

    Source: BLIP, section 3.2 (image-text matching loss); both directions as in its code.
    """
    if len(image) < 2:
        raise ValueError("hard negatives need at least two pairs")
    image, text = unit_pair(image.detach(), text.detach())
    logits = as_scale(scale, image).detach() * image @ text.T
    return _drawn(logits), _drawn(logits.T)


def _drawn(logits: Tensor) -> Tensor:
    shares = logits.clone().fill_diagonal_(-torch.inf).softmax(dim=1) + 1e-6
    return torch.multinomial(shares.fill_diagonal_(0.0), 1).squeeze(1)


@full_precision
def matching_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Cross-entropy of a head that tells pairs from mismatches, the mean over both.

    Args:
        positive: logits [B, 2] of true pairs; negative: logits [M, 2] of mismatches (BLIP's M is 2B: a wrong text for
            each picture and a wrong picture for each text). Column 1 means "belongs together".
    """
    logits = torch.cat([positive, negative])
    label = torch.arange(len(logits), device=logits.device) < len(positive)
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), label.long())
