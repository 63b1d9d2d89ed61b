"""Fusion models: one transformer over the words of a text and the regions of a picture."""

from __future__ import annotations

from clipdistill.models.fusion.batches import fusion_inputs
from clipdistill.models.fusion.config import NAMED, FusionConfig, fusion_config
from clipdistill.models.fusion.creating import create_fusion
from clipdistill.models.fusion.inputs import FusionInputs, FusionOutput, with_whole_image
from clipdistill.models.fusion.model import FusionModel

__all__ = [
    "NAMED",
    "FusionConfig",
    "FusionInputs",
    "FusionModel",
    "FusionOutput",
    "create_fusion",
    "fusion_config",
    "fusion_inputs",
    "with_whole_image",
]
