"""Visual commonsense reasoning: which of four answers is right, and which of four reasons for it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from clipdistill.data import Mixture
from clipdistill.data.fields import Field
from clipdistill.data.question_fields import ChoiceLabel
from clipdistill.data.question_texts import Reads
from clipdistill.data.sample import Sample
from clipdistill.tasks.base import Batch
from clipdistill.tasks.fusion import FusionOptions, FusionTask

LABELS = {"answers": "answer_label", "rationales": "rationale_label"}
MODES: dict[str, tuple[Reads, ...]] = {
    "q2a": ("answers",), "qa2r": ("rationales",), "both": ("answers", "rationales"),
}  # fmt: skip


class VCROptions(FusionOptions):
    """Options of VCR."""

    mode: Literal["q2a", "qa2r", "both"] = "both"
    """Answers to questions, reasons for the right answer, or both in one training, each labelled one an example."""
    loss: Literal["sigmoid", "cross_entropy"] = "sigmoid"
    """`sigmoid`: each option is right or wrong, for itself, as the authors of UNITER and VL-BERT have it;
    `cross_entropy`: one of the four is right."""


class VCR(FusionTask):
    """A fusion model learns VCR: to answer a question of four choices, and to tell the reason for the right answer.

    Source: VCR (2019); losses of UNITER and VL-BERT (2020), adversarial training of VILLA (2020)

    UNITER's two numbers an option with softmax, and VL-BERT's one with a sigmoid, are the same loss: of the "right"
    number less the "wrong" one, or less 0. Its mean is over the options.
    """

    METHOD = "vcr"
    HEAD = "vcr"
    Options = VCROptions

    def reads(self) -> tuple[Reads, ...]:
        """As the mode says."""
        return MODES[self.settings.mode]

    def outputs(self, data: Mixture) -> int:
        """Numbers an option: wrong and right, or right alone."""
        return int(self.student.option_outputs)

    def target_fields(self, data: Mixture) -> dict[str, Field]:
        """Which option is right."""
        made: dict[str, Field] = {"answer_label": ChoiceLabel(), "rationale_label": ChoiceLabel("rationale")}
        return {LABELS[reads]: made[LABELS[reads]] for reads in self.reads()}

    def labelled(self, sample: Sample) -> bool:
        """Whether any label that is wanted is there."""
        return any(sample.fields.get(LABELS[reads]) is not None for reads in self.reads())

    def right(self, reads: Reads, batch: Batch) -> Tensor | None:
        """The label."""
        label: Tensor = batch[LABELS[reads]]
        return label

    def choice_scores(self, logits: Tensor) -> Tensor:
        """[B, 4, 1 or 2] -> what options are ranked by, [B, 4]."""
        scores: Tensor = self.student.option_scores(logits.flatten(0, 1))
        return scores.view(logits.shape[:2])

    def known(self, reads: Reads, batch: Batch) -> Tensor:
        """Labels are -1 where they aren't known."""
        label: Tensor = batch[LABELS[reads]]
        return label >= 0

    def arranged(self, logits: Tensor) -> Tensor:
        """[B, 4, 1 or 2] -> wrong and right of each option, [B * 4, 2]; or with `cross_entropy` [B, 4]."""
        if self.settings.loss == "cross_entropy":
            return self.choice_scores(logits)
        pairs = logits.flatten(0, 1)
        return pairs if pairs.shape[1] == 2 else torch.cat([torch.zeros_like(pairs), pairs], dim=1)

    def task_loss(self, reads: Reads, logits: Tensor, batch: Batch) -> Tensor:
        """[B * 4], or with `cross_entropy` [B]."""
        label: Tensor = batch[LABELS[reads]].clamp_min(0)
        if self.settings.loss == "sigmoid":
            label = one_hot(label, len(logits) // len(label)).flatten()
        return cross_entropy(logits, label, reduction="none")
