"""Cosine distillation: a student's embedding turned towards its target."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clipdistill.objectives.rows import full_precision


@full_precision
def cosine_distance(student: Tensor, target: Tensor) -> Tensor:
    """1 - cos(student, target), [B] in [0, 2] (DCLIP, 2025, section 3.2 and appendix C).

    Args:
        student, target: [B, D], un-normalised; gradients flow to the student alone.
    """
    # Near convergence 1 - cos is a small difference: in bfloat16 its gradient would be a quarter off.
    wide = torch.promote_types(student.dtype, torch.float32)
    return 1 - F.cosine_similarity(student.to(wide), target.detach().to(wide), dim=-1)
