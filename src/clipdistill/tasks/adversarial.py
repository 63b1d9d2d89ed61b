"""VILLA's adversarial training as an option of fusion tasks: its values, and what of a student's inputs is shifted."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Value
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.models.fusion import FusionInputs


class Adversarial(BaseModel):
    """VILLA's adversarial training; its authors' VCR values for base models by default."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Value(3, ge=1)
    """Passes, each over inputs that were shifted a step further; the first isn't shifted."""
    lr: float = Value(1e-2, gt=0)
    """Length of a step. The authors: 1e-2 for VCR, 1e-1 with large models, 1e-3 for VQA and SNLI-VE."""
    weight: float = Value(1.5, ge=0)
    """Of the divergence between plain and shifted answers."""
    modality: Literal["both", "alternate", "words", "regions"] = "both"
    """What is shifted: `words` for VQA and SNLI-VE; `alternate` = each in a pass of its own, averaged."""


def check_shifts(student: Any, spec: Adversarial) -> None:
    """Raise a UserError when the student has nothing of the kind to shift."""
    wanted = (spec.modality,) if spec.modality in ("words", "regions") else ("words", "regions")
    if lacking := [one for one in wanted if one not in student.shifts]:
        what = {"words": "has no words of its own", "regions": "sees no regions"}[lacking[0]]
        raise UserError(f"`task.adversarial.modality`: '{student.name}' {what} to shift; set it to {student.shifts[0]}")


def nothing_shifted(student: Any, inputs: FusionInputs, spec: Adversarial) -> dict[str, Tensor]:
    """Zeros of what is shifted: the words' embeddings, and the regions' features before any layer."""
    found = {}
    if spec.modality != "regions":
        weight = student.embeddings.words.weight
        found["words"] = weight.new_zeros(*inputs.ids.shape, weight.shape[1])
    if spec.modality != "words":
        found["regions"] = torch.zeros_like(inputs.features)
    return found
