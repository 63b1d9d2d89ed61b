"""What is read of a question where one text is: the one that says what is right, and whether that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from clipdistill.data.fields import Draw, Field
from clipdistill.data.fusion_fields import FusionTexts
from clipdistill.data.question_fields import first_samples
from clipdistill.data.question_texts import Parts, TrueText, label_of, option_read
from clipdistill.data.sample import Sample
from clipdistill.errors import UserError


class TrueTexts(FusionTexts):
    """The right one of the texts, `NAME/...` of [B, L]: the question with its answer, or with answer and rationale.

    Of captions the one that is drawn; where the right one isn't known, one by hash of the id.
    """

    def __init__(self, model: Any, reads: TrueText, name: str, max_tokens: int | None = None) -> None:
        super().__init__(model, reads, name, max_tokens)
        self.options = 0
        if self.layout is None:
            raise UserError(f"`student.model`: '{model.name}' has no words that could be masked; name a fusion model")

    def check(self, data: Any) -> None:
        """As `FusionTexts`; and a source must say what is right, or nothing could be learned of its texts."""
        super().check(data)
        firsts = list(first_samples(data))
        if all(label_of(sample, self.reads) is None for sample in firsts):
            raise UserError(
                f"`data.train`: '{firsts[0].id}' has no label of {self.reads}, nor has another source's first sample, "
                "so their true texts aren't known; set `task.reads` to question"
            )

    def texts(self, sample: Sample) -> list[Parts]:
        """One, of captions all."""
        found = super().texts(sample)
        return found if self.reads == "caption" else [found[option_read(sample, self.reads)]]

    def drawn(self, sample: Sample, draw: Draw) -> Parts:
        """The one that this draw shows."""
        return self.texts(sample)[draw.caption if self.reads == "caption" else 0]

    def row(self, sample: Sample, draw: Draw) -> Any:
        """A text's tokens."""
        return self._coded(self.drawn(sample, draw))

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Padded to the longest."""
        return super().collate([[coded] for coded in rows])


@dataclass(frozen=True)
class TextKnown(Field):
    """Whether the text of a sample is known to be right, bool [B]: not of questions without their answer."""

    reads: TrueText

    def unknown_in(self, data: Any) -> bool:
        """Whether a source has none (it gives or lacks the answers of all of its samples)."""
        return any(label_of(sample, self.reads) is None for sample in first_samples(data))

    def row(self, sample: Sample, draw: Draw) -> bool:
        """Of one sample."""
        return label_of(sample, self.reads) is not None

    def collate(self, rows: Sequence[bool]) -> torch.Tensor:
        """Side by side."""
        return torch.tensor(rows, dtype=torch.bool)
