"""Options of the pretraining of fusion students."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field as Value
from pydantic import model_validator

from clipdistill.data.question_texts import TrueText
from clipdistill.tasks.base import TaskOptions
from clipdistill.tasks.targeted import Distillation


class FusionPretrainingOptions(TaskOptions):
    """Options of pretraining."""

    reads: TrueText = "question"
    """The text: VCR's question with the right answer (`answers`), or with its reason too (`rationales`); a `question`
    alone; a `hypothesis`; a `caption`."""
    max_tokens: int | None = Value(None, ge=8)
    """Longer texts are cut; none = as many as the model has positions for."""
    masked: float = Value(0.15, gt=0, lt=1)
    """Share of words that are masked; one of each text at least."""
    tower_lr: float = Value(1.0, ge=0)
    """Learning rate of the image tower of a student that reads pictures, times `train.lr`; 0 = it is frozen."""
    whole_words: bool = False
    """Mask words and not their pieces, as VL-BERT does."""
    negatives: Literal["picture", "exchanged"] = "picture"
    """What doesn't match: another sample's `picture`, as in UNITER (of a student that reads pictures another sample's
    text: the same pairs, and a picture less to read); or the own one with words of the text `exchanged`
    (ours): words keep pointing to their regions, so each can be held against what it points to."""
    exchange: tuple[tuple[str, ...], ...] = ()
    """With `exchanged`: classes of words (or of "left of" and the like), each becoming another of its class; none = two
    words of a kind change places."""

    distil: Distillation = Distillation()
    """With a teacher: how its features are carried over (CLIP-TD's adaptive fine-tuning)."""
    distil_alone: bool = False
    """Let a teacher's terms train without any of pretraining: a control, which ruins the student."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.exchange and self.negatives != "exchanged":
            raise ValueError("`exchange`: words are exchanged with `negatives: exchanged` alone; set it, or leave this")
        for words in self.exchange:
            if len(set(words)) < 2 or not all(word and word == word.lower() for word in words):
                raise ValueError(f"`exchange`: {list(words)} must be two or more words in lower case")
        return self
