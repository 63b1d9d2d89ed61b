"""Cosine distillation: a student's embedding turned towards its target."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cosine_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of 1 - cos(student, target), in [0, 2] (DCLIP, 2025, section 3.2 and appendix C).

    Args:
        student, target: [B, D], un-normalised; gradients flow to the student alone.
    """
    return (1 - F.cosine_similarity(student, target.detach(), dim=-1)).mean()
