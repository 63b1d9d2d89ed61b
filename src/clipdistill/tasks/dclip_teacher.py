"""Training DCLIP's meta-teacher: attended image embeddings against frozen CLIP text embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clipdistill.data import Mixture
from clipdistill.data.fields import Field, Regions
from clipdistill.models import fingerprint
from clipdistill.models.meta_teacher import Attention, MetaTeacher, Variant
from clipdistill.objectives.contrastive import info_nce
from clipdistill.objectives.itm import hard_negatives, matching_loss
from clipdistill.tasks.base import Batch, Features, Task, TaskOptions

ITM_ROWS = 64
"""Mismatched pairs that attend at once, so that their activations don't grow with the batch."""


class DCLIPTeacherOptions(TaskOptions):
    """Options of the meta-teacher; see `MetaTeacher`."""

    heads: int = 8
    attention: Attention = "bidirectional"
    clusters: Literal[1, 2, 3, 4, 5] = 1
    rotary: bool = False
    pooling_temperature: float = 2.0
    variant: Variant = "paper"
    temperature: float = 0.05
    """Temperature of InfoNCE (the released code's 0.05)."""


class DCLIPTeacher(Task):
    """Train a meta-teacher, which sees regions and the caption: its targets against the captions' embeddings.

    Source: DCLIP (2025), equation 1
    Status: measured with `dclip`, whose recipes make it by `teachers: [{meta: ...}]`

    Symmetric InfoNCE between the targets of a batch and the captions' embeddings is `task`.
    `itm` adds the matching loss of appendix E: each picture's regions with a caption of another picture, and each
    caption with the regions of another picture, both drawn by similarity, against the true pairs.
    """

    METHOD = "dclip_teacher"
    TEACHERS = (1, 1)
    FEATURES = "tokens"
    OWN_TEACHER = True
    TERMS = {"task": 1.0, "itm": 0.0}
    Options = DCLIPTeacherOptions

    @classmethod
    def make_student(
        cls, model: Any, weights: Mapping[str, float] | None = None, options: Mapping[str, Any] | None = None
    ) -> MetaTeacher:
        """A fresh meta-teacher on a pretrained model, with a matching head where `itm` has a weight."""
        values = cls.check_options(options).model_dump()
        values.pop("temperature")
        made = MetaTeacher(int(model.embed_dim), **values, itm="itm" in cls.check_weights(weights))
        made.base = fingerprint(model)
        return made

    def fields(self, data: Mixture) -> dict[str, Field]:
        """The pictures' regions, and captions for the frozen text tower."""
        return {**self.teachers[0].fields(), "regions": Regions(data)}

    def encode(self, batch: Batch) -> Features:
        """`image`: the attended embedding [B, D]; for `itm` what it was made from too."""
        seen = ("regions", "region_mask", "region_scores", "region_areas")
        found = {name: batch[name] for name in seen} | self.teachers[0].targets(batch)
        features = {"image": self.student(*self.student.inputs(found)), "text": found["text"]}
        if self.wants("itm"):
            # Masks travel as numbers: features are joined over processes as such.
            kept = {k: v.float() if v.dtype == torch.bool else v for k, v in found.items() if k != "text"}
            features |= kept
        return features

    def targets(self, batch: Batch) -> Features:
        """None: regions and tokens are the meta-teacher's input."""
        return {}

    def batch_losses(self, features: Features) -> dict[str, Tensor]:
        """`task` and `itm` over the whole batch."""
        scale = torch.tensor(1 / self.settings.temperature, device=features["image"].device)
        losses = {}
        if self.wants("task"):
            losses["task"] = info_nce(features["image"], features["text"], scale)
        if self.wants("itm"):
            texts, pictures = hard_negatives(features["image"], features["text"], scale)
            own = torch.arange(len(texts), device=texts.device)
            wrong = self._mismatches(features, torch.cat([own, pictures]), torch.cat([texts, own]))
            losses["itm"] = matching_loss(self.student.matching(features["image"]), wrong)
        return losses

    def _mismatches(self, features: Features, pictures: Tensor, texts: Tensor) -> Tensor:
        """Matching logits [M, 2] of the regions of `pictures` with the captions of `texts`, a few at a time."""
        # What the targets are made of takes no gradient; the true pairs' targets are there, and carry theirs back.
        made_of = {k: v.detach() for k, v in features.items() if k != "image"}
        wrong = []
        for at in range(0, len(texts), ITM_ROWS):
            picture, text = pictures[at : at + ITM_ROWS], texts[at : at + ITM_ROWS]
            mismatch = {k: v[text if k in ("tokens", "token_mask", "text") else picture] for k, v in made_of.items()}
            wrong.append(self._negatives(mismatch, len(texts) > ITM_ROWS))
        return torch.cat(wrong)

    def _negatives(self, inputs: Features, again: bool) -> Tensor:
        """Matching logits of mismatched pairs; `again`: keep no activations and attend once more in backward."""
        given = self.student.inputs(inputs)
        target = checkpoint(self.student, *given, use_reentrant=False) if again else self.student(*given)
        logits: Tensor = self.student.matching(target)
        return logits
