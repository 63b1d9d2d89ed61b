"""A student between its base and its fine-tuned self: interpolation in weight space (Wortsman et al. 2022, WiSE-FT)."""

from __future__ import annotations

import copy

import torch

from clipdistill.errors import UserError
from clipdistill.models.dual_encoder import DualEncoder


@torch.no_grad()
def interpolate(base: DualEncoder, student: DualEncoder, alpha: float) -> DualEncoder:
    """Return a new model with the weights (1 - alpha) base + alpha student; neither model is changed.

    Floating-point entries are interpolated in float64 and rounded once; integer entries come from the student.
    Raises UserError when alpha isn't in [0, 1] or when the models don't have the same entries in the same shapes.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha: {alpha} is outside 0..1; give a number from 0 (the base) to 1 (the student)")
    old, new = base.state_dict(), student.state_dict()
    differing = sorted(
        k for k in old.keys() | new.keys() if k not in old or k not in new or old[k].shape != new[k].shape
    )
    if differing:
        raise UserError(
            f"base: `{differing[0]}` differs from the student's; give the model that the student started from"
        )
    mixed = copy.deepcopy(student)
    mixed.load_state_dict(
        {
            k: torch.lerp(old[k].to(v.device).double(), v.double(), alpha).to(v.dtype) if v.is_floating_point() else v
            for k, v in new.items()
        }
    )
    return mixed
