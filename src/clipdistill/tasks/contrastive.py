"""Contrastive training without a teacher: what a control is, and how petri teachers are made."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from clipdistill.data import fields as data_fields
from clipdistill.objectives.contrastive import info_nce, sigmoid_loss
from clipdistill.tasks.base import Batch, Features, Task, TaskOptions

MAX_LOGIT_SCALE = math.log(100.0)


class ContrastiveOptions(TaskOptions):
    """Options of every method with a contrastive task loss."""

    loss: Literal["info_nce", "sigmoid"] = "info_nce"
    chunk: int | None = None
    """Rows of the logits that are held at once; none = all of them."""
    hard_negatives: int = Field(default=0, ge=0)
    """False captions a pair that every picture can choose (NegCLIP); a recipe says it under `data`."""

    @model_validator(mode="after")
    def _negatives_need_info_nce(self) -> ContrastiveOptions:
        if self.hard_negatives and self.loss == "sigmoid":
            raise ValueError("`data.hard_negatives` enter InfoNCE; set it to 0 with the sigmoid loss")
        return self


class Contrastive(Task):
    """InfoNCE or the sigmoid loss between the student's image and text embeddings, without a teacher.

    Source: CLIP (2021), `loss: info_nce`; SigLIP (2023), `loss: sigmoid`
    """

    METHOD = "contrastive"
    TERMS = {"task": 1.0}
    Options = ContrastiveOptions

    def student_fields(self) -> dict[str, data_fields.Field]:
        """Pictures and captions, and false captions where they are asked for."""
        found = super().student_fields()
        if self.settings.hard_negatives:
            found["negative/student"] = data_fields.HardNegatives(self.student.tokenizer, self.settings.hard_negatives)
        return found

    def encode(self, batch: Batch) -> Features:
        """Embeddings of `image/student` and `text/student`, un-normalised, [B, D].

        With hard negatives also `negative` [B, N, D], of `negative/student`, the places without one included.
        """
        features = {
            "image": self.student.encode_image(batch["image/student"]),
            "text": self.student.encode_text(batch["text/student"]),
        }
        if "negative/student" in batch:
            tokens = batch["negative/student"]
            features["negative"] = self.student.encode_text(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return features

    def targets(self, batch: Batch) -> Features:
        """The teachers' features, and which of the hard negatives are there: `has_negative` bool [B, N]."""
        found = super().targets(batch)
        if "has_negative" in batch:
            found["has_negative"] = batch["has_negative"]
        return found

    def batch_losses(self, features: Features) -> dict[str, Tensor]:
        """`task`: the contrastive loss over the whole batch."""
        return {"task": self.task_loss(features)} if self.wants("task") else {}

    def task_loss(self, features: Features) -> Tensor:
        """The contrastive loss on `image` and `text` at the student's own scale (and bias, for sigmoid)."""
        image, text, scale = features["image"], features["text"], self.student.logit_scale
        if self.settings.loss == "sigmoid":
            return sigmoid_loss(image, text, scale, self.student.logit_bias, chunk=self.settings.chunk)
        negatives = features["negative"][features["has_negative"]] if "negative" in features else None
        return info_nce(image, text, scale, negatives=negatives, chunk=self.settings.chunk)

    def after_step(self) -> None:
        """Clamp every logit scale that trains."""
        clamp_scales(self)


def clamp_scales(module: nn.Module) -> None:
    """Clamp the parameters of `module` that are logit scales, by name."""
    for name, parameter in module.named_parameters():
        if name.endswith("logit_scale") and parameter.requires_grad:
            clamp_logit_scale(parameter)


def clamp_logit_scale(parameter: Tensor | None) -> None:
    """Keep a log-scale at or below log(100), as CLIP does, so that the logits can't run away."""
    if parameter is not None:
        with torch.no_grad():
            parameter.clamp_(max=MAX_LOGIT_SCALE)
