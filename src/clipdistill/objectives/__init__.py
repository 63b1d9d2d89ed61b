"""Pure loss functions on tensors. Imports torch and nothing of ours.

All take un-normalised features [B, D], normalise them inside, work in float32 (or float64) whatever autocast says,
and return a scalar. A `logit_scale` is exponentiated already: it multiplies cosines.
"""

from __future__ import annotations

from clipdistill.objectives.affinity import affinity_mimicking
from clipdistill.objectives.clip_kd import afd, contrastive_gradients, crd, fd, gd, icl, mfd
from clipdistill.objectives.contrastive import info_nce, sigmoid_loss
from clipdistill.objectives.ensemble import ensemble_kd
from clipdistill.objectives.masking import mask_patches

__all__ = [
    "afd",
    "affinity_mimicking",
    "contrastive_gradients",
    "crd",
    "ensemble_kd",
    "fd",
    "gd",
    "icl",
    "info_nce",
    "mask_patches",
    "mfd",
    "sigmoid_loss",
]
