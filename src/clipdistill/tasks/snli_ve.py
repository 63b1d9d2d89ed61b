"""Visual entailment: whether a picture entails a hypothesis, contradicts it, or can't tell."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from clipdistill.data import Mixture
from clipdistill.data.fields import Field, Label
from clipdistill.data.question_texts import Reads
from clipdistill.data.sample import Sample
from clipdistill.data.sources.snli_ve import CLASSES
from clipdistill.errors import UserError
from clipdistill.tasks.base import Batch
from clipdistill.tasks.fusion import FusionOptions, FusionTask


class SNLIVEOptions(FusionOptions):
    """Options of SNLI-VE."""

    loss: Literal["cross_entropy", "sigmoid"] = "cross_entropy"
    """`cross_entropy` of the three classes; `sigmoid`: each class for itself and added, as UNITER's authors, whose
    model for it is that of VQA with three answers."""


class SNLIVE(FusionTask):
    """A fusion model learns SNLI-VE: entailment, neutral or contradiction, of a picture and a hypothesis.

    Source: SNLI-VE (2019); losses of UNITER (2020), adversarial training of VILLA (2020)
    """

    METHOD = "snli_ve"
    HEAD = "snli_ve"
    Options = SNLIVEOptions

    def reads(self) -> tuple[Reads, ...]:
        """The hypothesis; the premise is the picture."""
        return ("hypothesis",)

    def outputs(self, data: Mixture) -> int:
        """Three; UserError for data with other classes."""
        if data.classes != CLASSES:
            have = "none that its sources share" if data.classes is None else ", ".join(data.classes[:5])
            raise UserError(f"`data.train`: its classes are {have}, not {', '.join(CLASSES)}; give format snli_ve")
        return len(CLASSES)

    def target_fields(self, data: Mixture) -> dict[str, Field]:
        """The class."""
        return {"label": Label()}

    def labelled(self, sample: Sample) -> bool:
        """Whether it has a class."""
        return sample.label is not None

    def known(self, reads: Reads, batch: Batch) -> Tensor:
        """Classes are -1 where they aren't known."""
        label: Tensor = batch["label"]
        return label >= 0

    def task_loss(self, reads: Reads, logits: Tensor, batch: Batch) -> Tensor:
        """[B]."""
        label = batch["label"].clamp_min(0)
        if self.settings.loss == "cross_entropy":
            return cross_entropy(logits, label, reduction="none")
        target = one_hot(label, logits.shape[1]).to(logits.dtype)
        return binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1)
