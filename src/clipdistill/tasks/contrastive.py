"""Contrastive training without a teacher: what a control is, and how petri teachers are made."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from clipdistill.data import Mixture
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

    Pictures without captions have no partner, so they take no part here; a teacher tells something of them (`ClipKD`).
    """

    METHOD = "contrastive"
    TERMS = {"task": 1.0}
    Options = ContrastiveOptions
    BARE = True
    SEES_BARE: ClassVar[bool] = False
    """Whether pictures without captions are encoded: whether a term wants them."""
    captioned = 1.0
    """The share of visits to pictures with captions, once there is data."""

    def prepare(self, data: Mixture) -> None:
        """How many pictures have captions."""
        self.captioned = data.captioned

    def student_fields(self) -> dict[str, data_fields.Field]:
        """Pictures and captions, and false captions where they are asked for."""
        found = super().student_fields()
        if self.settings.hard_negatives:
            found["negative/student"] = data_fields.HardNegatives(self.student.tokenizer, self.settings.hard_negatives)
        return found

    def encode(self, batch: Batch) -> Features:
        """Embeddings of `image/student` and `text/student`, un-normalised, [B, D].

        With hard negatives also `negative` [B, N, D], of `negative/student`, the places without one included. Where
        pictures have no captions, rows of `text` are 0, and so are those of `image` unless `SEES_BARE`.
        """
        rows = (batch["caption"] >= 0).nonzero()[:, 0] if self.captioned < 1 else None
        image, text, width = batch["image/student"], batch["text/student"], int(self.student.embed_dim)
        features = {
            "image": _of_rows(self.student.encode_image, image, None if self.SEES_BARE else rows, width),
            "text": _of_rows(self.student.encode_text, text, rows, width),
        }
        if "negative/student" in batch:
            tokens = batch["negative/student"]
            features["negative"] = self.student.encode_text(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return features

    def targets(self, batch: Batch) -> Features:
        """The teachers' features, and which of the hard negatives are there: `has_negative` bool [B, N].

        `captioned` bool [B] where some pictures have no captions.
        """
        found = super().targets(batch)
        if self.captioned < 1:
            found["captioned"] = batch["caption"] >= 0
        if "has_negative" in batch:
            found["has_negative"] = batch["has_negative"]
        return found

    def batch_losses(self, features: Features) -> dict[str, Tensor]:
        """`task`: the contrastive loss over the whole batch's pairs; 0 where it has none."""
        if not self.wants("task"):
            return {}
        pairs = self.pairs(features)
        return {"task": self.task_loss(pairs) if len(pairs["image"]) else 0 * features["image"].sum()}

    def pairs(self, features: Features) -> Features:
        """Features of the samples that have a caption."""
        if "captioned" not in features:
            return features
        return {name: value[features["captioned"]] for name, value in features.items()}

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


def _of_rows(encode: Callable[[Tensor], Tensor], inputs: Tensor, rows: Tensor | None, width: int) -> Tensor:
    """Encode some of the inputs, [B, D] with zeros for the others; None = all of them."""
    if rows is None or len(rows) == len(inputs):
        return encode(inputs)
    if not len(rows):
        return torch.zeros(len(inputs), width, device=inputs.device)
    found = encode(inputs[rows])
    return found.new_zeros(len(inputs), found.shape[1]).index_copy(0, rows, found)


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
