"""Visual question answering: a score for each answer of a vocabulary."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from clipdistill.data import Mixture
from clipdistill.data.fields import Field
from clipdistill.data.question_fields import AnswerTarget, answer_vocabulary
from clipdistill.data.question_texts import Reads
from clipdistill.data.sample import Sample
from clipdistill.tasks.base import Batch
from clipdistill.tasks.fusion import FusionTask


class VQA(FusionTask):
    """A fusion model learns VQA v2: every answer of the vocabulary is right to a share, as ten people gave it.

    Source: VQA v2 (2017); soft targets and loss of Anderson et al. (2018), as UNITER and VL-BERT have them

    Binary cross-entropy of each answer, added over answers ("the mean times the number of answers").
    """

    METHOD = "vqa"
    HEAD = "vqa"
    DIVERGENCE = "sum"

    def reads(self) -> tuple[Reads, ...]:
        """The question."""
        return ("question",)

    def outputs(self, data: Mixture) -> int:
        """The size of the vocabulary; UserError where sources have none, or differ."""
        return len(answer_vocabulary(data))

    def target_fields(self, data: Mixture) -> dict[str, Field]:
        """`answer_target` and `answer_known`."""
        return {"answer_target": AnswerTarget(data)}

    def labelled(self, sample: Sample) -> bool:
        """Whether it has answers."""
        return sample.fields.get("answer_scores") is not None

    def known(self, reads: Reads, batch: Batch) -> Tensor:
        """Where there are answers."""
        found: Tensor = batch["answer_known"]
        return found

    def task_loss(self, reads: Reads, logits: Tensor, batch: Batch) -> Tensor:
        """[B]."""
        target = batch["answer_target"].to(logits.dtype)
        return binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1)
