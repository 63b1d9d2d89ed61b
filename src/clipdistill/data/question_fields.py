"""Fields of questions: texts with the regions that they name, and what the answers are trained towards.

Texts stay texts: the tokens of a fusion model are another field's business, as they depend on its tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from clipdistill.data.fields import Draw, Field
from clipdistill.data.sample import Sample
from clipdistill.data.tagged_text import Tag, TaggedText
from clipdistill.errors import UserError


class _OfQuestions(Field):
    """READS names what every source must give: one sample of each is asked before any batch is made."""

    NEEDS: ClassVar[str] = ""
    """What the data lacks when it has none of it, and which sources have it."""

    def check(self, data: Any) -> None:
        """The first sample of each source must have the fields that are read."""
        for sample in first_samples(data):
            for name in self.READS:
                if name not in sample.fields:
                    raise UserError(f"'{sample.id}' has no '{name}', and training needs {self.NEEDS}")

    def collate(self, rows: Sequence[Any]) -> Any:
        """As they are."""
        return list(rows)


@dataclass(frozen=True)
class Question(_OfQuestions):
    """The question with its tags: a list of B `TaggedText`s."""

    READS = ("question", "question_tags")
    NEEDS = "questions (formats vcr, vqa_v2, easy_vqa)"

    def row(self, sample: Sample, draw: Draw) -> TaggedText:
        """The text, and what names regions in it."""
        return tagged(sample.fields["question"], sample.fields["question_tags"])


@dataclass(frozen=True)
class Choices(_OfQuestions):
    """The options with their tags, answers unless another field is named: a list of B lists of `TaggedText`s."""

    READS = ("choices", "choice_tags")
    NEEDS = "questions with options (format vcr)"

    def row(self, sample: Sample, draw: Draw) -> list[TaggedText]:
        """Option by option."""
        texts, tags = (sample.fields[name] for name in self.READS)
        return [tagged(text, some) for text, some in zip(texts, tags, strict=True)]


@dataclass(frozen=True)
class Rationales(Choices):
    """The rationales with their tags, as `Choices`."""

    READS = ("rationales", "rationale_tags")


@dataclass(frozen=True)
class Hypothesis(_OfQuestions):
    """What is to be told of the picture, as text: a list of B strings. The class is the field `Label`."""

    READS = ("hypothesis",)
    NEEDS = "hypotheses (format snli_ve)"

    def row(self, sample: Sample, draw: Draw) -> str:
        """The text."""
        return str(sample.fields["hypothesis"])


@dataclass(frozen=True)
class ChoiceLabel(Field):
    """Which option is right: int64 [B], 0 to 3, -1 = it isn't known (test files, the unlabelled part)."""

    of: Literal["answer", "rationale"] = "answer"

    @property
    def name(self) -> str:
        """The sample's field."""
        return f"{self.of}_label"

    def row(self, sample: Sample, draw: Draw) -> int:
        """The number."""
        return int(sample.fields.get(self.name, -1))

    def collate(self, rows: Sequence[int]) -> torch.Tensor:
        """Side by side."""
        return torch.tensor(rows, dtype=torch.int64)


class AnswerTarget(Field):
    """Soft targets over the vocabulary of answers: `answer_target` float32 [B, A] in [0, 1], `answer_known` bool [B].

    Not known is a sample without answers (test splits, the unlabelled part): its zeros mean nothing. A question
    none of whose answers is in the vocabulary is known, and all zeros, as in the usual training.

    Args:
        data: a mixture, or a source, whose sources have one vocabulary, `answers`.

    Raises:
        UserError: a source has none, or two differ.
    """

    def __init__(self, data: Any) -> None:
        self.answers = answer_vocabulary(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnswerTarget) and self.answers == other.answers

    __hash__ = None  # type: ignore[assignment]

    def row(self, sample: Sample, draw: Draw) -> tuple[tuple[int, float], ...] | None:
        """(number of the answer, score) pairs; None = not known."""
        found: tuple[tuple[int, float], ...] | None = sample.fields.get("answer_scores")
        return found

    def collate(self, rows: Sequence[tuple[tuple[int, float], ...] | None]) -> dict[str, torch.Tensor]:
        """Spread over the vocabulary."""
        target = torch.zeros(len(rows), len(self.answers))
        for place, row in enumerate(rows):
            for number, score in row or ():
                target[place, number] = score
        return {"answer_target": target, "answer_known": torch.tensor([row is not None for row in rows])}


def answer_vocabulary(data: Any) -> tuple[str, ...]:
    """The one vocabulary of answers of a mixture's sources (or of a source).

    Raises:
        UserError: a source has none, or two differ.
    """
    first: tuple[str, ...] | None = None
    for source in getattr(data, "sources", [data]):
        answers: tuple[str, ...] = getattr(source, "answers", ())
        if not answers:
            raise UserError(f"data source '{source.name}' has no vocabulary of answers; set its 'answers' to a file")
        if first is not None and answers != first:
            raise UserError(
                f"data source '{source.name}' has another vocabulary of answers ({len(answers):,}) than the first "
                f"({len(first):,}); set 'answers' of both to one file"
            )
        first = answers
    assert first is not None
    return first


def tagged(text: str, tags: Iterable[Sequence[int]]) -> TaggedText:
    """A text and its tags as a sample's fields have them, as one value."""
    return TaggedText(text, tuple(Tag(*tag) for tag in tags))


def first_samples(data: Any) -> Iterable[Sample]:
    """The first sample of each source of a mixture, or of a source."""
    layout = getattr(data, "layout", None)
    starts = [0] if layout is None else [positions.start for positions, _ in layout() if len(positions)]
    return (data[start] for start in starts)
