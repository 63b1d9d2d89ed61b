"""CLIP-TD's distillation (2022, section 3.1) as a part of any training of a fusion student: its terms, options, maps.

A student's vectors are as wide as it is and CLIP's as CLIP is, so a learnt linear map stands between; maps are part of
the task, checkpointed and never exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Value
from torch import Tensor, nn
from torch.nn.functional import normalize

from clipdistill.data import Mixture
from clipdistill.data.fields import Field
from clipdistill.data.fusion_fields import FusionTexts
from clipdistill.data.joined_text import TeacherText
from clipdistill.data.question_texts import Reads
from clipdistill.data.taught_fields import TaughtPicture, TaughtTexts
from clipdistill.errors import UserError
from clipdistill.evaluate.entailment import BY_SIMILARITY
from clipdistill.evaluate.k_means import k_means
from clipdistill.models.fusion import FusionOutput
from clipdistill.objectives.targeted import choice_divergence, confidence_ratio, gate, l1_distance, unit_rms
from clipdistill.tasks.base import Batch, Features

TERMS = {"vision": 0.0, "language": 0.0, "selected": 0.0, "choices": 0.0}
"""L1 at the image token, at the text's first token and at selected words; ours: divergence from CLIP's choice."""
CHUNK = 4096


class Confidence(BaseModel):
    """When the teacher is listened to (equations 9 and 10)."""

    model_config = ConfigDict(extra="forbid")

    temperature: float = Value(1.0, gt=0)
    """T: what the ratio of the teacher's largest probability to the student's is multiplied by; above 1 the gate is
    open."""


class Distillation(BaseModel):
    """How a teacher's features are carried over."""

    model_config = ConfigDict(extra="forbid")

    reduction: Literal["mean", "sum"] = "mean"
    """Of the L1 over a vector's numbers; `sum` is the norm as the paper prints it."""
    targets: Literal["raw", "unit_rms"] = "raw"
    """CLIP's features as they are, or each scaled to a root mean square of 1 (ours)."""
    words: int = Value(2, ge=1, le=8)
    """m: words selected of each text."""
    selection: Literal["scores", "random"] = "scores"
    """`random`: the control."""
    text: TeacherText = "pair"
    """What CLIP reads of an option: question and answer (and reason), the last of them alone, or (ours) what they say
    together, as a statement."""
    template: str = "a picture of {answer}"
    """VQA: the answers as prompts, for the teacher's confidence and choices."""
    confidence: Confidence | None = None
    """Weigh each sample by the teacher's confidence; none = every sample counts."""
    pairs: Literal["all", "right"] = "all"
    """Of options: distil all of them, or the right one alone, where it is known."""

    def stored(self) -> dict[str, Any]:
        """What a teacher's store depends on."""
        return {"selection": self.selection, "text": self.text, "template": self.template}


class Targeted(nn.Module):
    """What is learnt from a stored CLIP.

    Args:
        student: a FusionModel. teacher: a StoredQuestions. weights: of the terms that are on.
    """

    def __init__(self, student: Any, teacher: Any, weights: Mapping[str, float], options: Distillation) -> None:
        super().__init__()
        self.teacher, self.options = teacher, options
        self.terms = tuple(term for term in TERMS if term in weights)
        if "vision" in self.terms and student.sees == "nothing":
            raise UserError(f"`task.weights.vision`: '{student.name}' sees no picture; leave it out")
        wide, width = int(student.config.width), int(teacher.embed_dim)
        names = {"vision": "image", "language": "text", "selected": "words"}
        self.maps = nn.ModuleDict({names[t]: nn.Linear(wide, width) for t in self.terms if t in names})
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(0))

    def prepare(self, data: Mixture) -> None:
        """SNLI-VE: the centres of three clusters of the teacher's similarities over the data, without labels."""
        store, rows = self.teacher.store, self.teacher.rows(data.ids)
        if "hypothesis" not in store.meta["questions"]["reads"] or not self._wants_logits:
            return
        found = []
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            text = torch.from_numpy(store.take("hypothesis_text", part))
            image = torch.from_numpy(store.take("image", part))
            found.append((normalize(text, dim=1) * normalize(image, dim=1)).sum(dim=1))
        try:
            _, centres = k_means(torch.cat(found)[:, None], len(BY_SIMILARITY))
        except ValueError as error:
            raise UserError(f"`teachers`: its similarities don't make three clusters: {error}") from error
        names = list(data.classes or BY_SIMILARITY)
        order = [BY_SIMILARITY.index(name) for name in names]
        self.centres = centres[:, 0].sort().values[order].float().to(self.centres.device)

    def fields(self, data: Mixture, texts: Mapping[Reads, FusionTexts], right: bool = False) -> dict[str, Field]:
        """The teacher's word on the pictures, and on the texts that the student reads."""
        rows, store = self.teacher.rows(data.ids), self.teacher.store
        words = self.options.words if "selected" in self.terms else 0
        found: dict[str, Field] = {"taught": TaughtPicture(store, rows)}
        for reads, field in texts.items():
            found[f"taught/{reads}"] = TaughtTexts(store, rows, field, reads, words, right)
        return found

    def features(self, reads: Reads, output: FusionOutput, batch: Batch) -> Features:
        """What of the student is held against the teacher, in the teacher's width, [B, O, ...] as the texts are."""
        shape = tuple(batch[f"taught/{reads}/text"].shape[:-1])
        found: Features = {}
        if "vision" in self.terms:
            found["vision"] = self.maps["image"](output.image).view(*shape, -1)
        if "language" in self.terms:
            found["language"] = self.maps["text"](output.cls).view(*shape, -1)
        if "selected" in self.terms:
            mask = batch[f"taught/{reads}/tokens"].flatten(0, len(shape) - 1).to(output.text.dtype)
            pooled = mask @ output.text[:, : mask.shape[2]] / mask.sum(dim=-1, keepdim=True).clamp_min(1)
            found["selected"] = self.maps["words"](pooled).view(*shape, *pooled.shape[1:2], -1)
        return {f"{term}/{reads}": value for term, value in found.items()}

    def losses(
        self, reads: Reads, features: Features, batch: Batch, scores: Tensor | None, label: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Of each sample, [B]: each term, gated.

        scores: the student's logits over the choices, [B, N]; None where it makes none (pretraining).
        label: int64 [B], -1 = unknown; for `pairs: right`.
        """
        target = {name: batch[f"taught/{reads}/{name}"] for name in ("text", "words", "there")}
        image = batch["taught/image"]
        options = target["text"].ndim == 3
        found: dict[str, Tensor] = {}
        if "vision" in self.terms:
            own = features[f"vision/{reads}"]
            found["vision"] = self._apart(own, image[:, None].expand_as(own) if options else image)
        if "language" in self.terms:
            found["language"] = self._apart(features[f"language/{reads}"], target["text"])
        if "selected" in self.terms:
            there = target["there"].to(image.dtype)
            each = self._apart(features[f"selected/{reads}"], target["words"]) * there
            found["selected"] = each.sum(dim=-1) / there.sum(dim=-1).clamp_min(1)
        if options:
            found = {term: self._over_options(value, label) for term, value in found.items()}
        if scores is None or not self._wants_logits:
            return found
        teacher = self.logits(reads, batch)
        if "choices" in self.terms:
            found["choices"] = choice_divergence(scores, teacher)
        if self.options.confidence is None:
            return found
        weight = gate(confidence_ratio(teacher, scores, self.options.confidence.temperature))
        return {term: value * weight for term, value in found.items()}

    def logits(self, reads: Reads, batch: Batch) -> Tensor:
        """The teacher's logits over the choices, [B, N]: of options its scaled cosines with the picture, of answers
        theirs as prompts, of SNLI-VE's classes how near the similarity is to the centre of each."""
        if "taught/logits" in batch:
            found: Tensor = batch["taught/logits"]
            return found
        image, text = (normalize(one, dim=-1) for one in (batch["taught/image"], batch[f"taught/{reads}/text"]))
        if text.ndim == 3:
            scaled: Tensor = self.teacher.logit_scale * torch.einsum("bd,bod->bo", image, text)
            return scaled
        nearness: Tensor = -self.teacher.logit_scale * ((image * text).sum(dim=1, keepdim=True) - self.centres).abs()
        return nearness

    @property
    def _wants_logits(self) -> bool:
        return "choices" in self.terms or self.options.confidence is not None

    def _apart(self, own: Tensor, target: Tensor) -> Tensor:
        taught = unit_rms(target) if self.options.targets == "unit_rms" else target
        return l1_distance(own, taught.to(own.dtype), self.options.reduction)

    def _over_options(self, values: Tensor, label: Tensor | None) -> Tensor:
        """[B, O] -> [B]: the mean over options, or the right one's, 0 where it isn't known."""
        if self.options.pairs == "all" or label is None:
            return values.mean(dim=1)
        return values.gather(1, label.clamp_min(0)[:, None])[:, 0] * (label >= 0)


def targeted(
    student: Any, teachers: Sequence[Any], weights: Mapping[str, float], options: Distillation
) -> Targeted | None:
    """What a training learns from its teacher; None without one.

    Raises:
        UserError: terms without a teacher, a teacher without terms, a student that hasn't got what is distilled.
    """
    wanted = [term for term in TERMS if term in weights]
    if wanted and not teachers:
        raise UserError(f"`task.weights.{wanted[0]}`: needs a teacher; add one, or leave the term out")
    if not teachers:
        return None
    if not wanted:
        raise UserError(f"`task.weights`: a teacher is given, and none of {', '.join(TERMS)} has a weight; set one")
    return Targeted(student, teachers[0], weights, options)
