"""What is read of a question, by a student or its teacher: its parts, as texts with tags, one set for each option.

A part's name says where in a model's sequence it goes.
"""

from __future__ import annotations

from typing import Literal

from clipdistill.data.draws import integer
from clipdistill.data.question_fields import tagged
from clipdistill.data.sample import Sample
from clipdistill.data.tagged_text import TaggedText
from clipdistill.errors import UserError

Reads = Literal["answers", "rationales", "rationales_of_each", "question", "hypothesis", "caption"]
TrueText = Literal["answers", "rationales", "question", "hypothesis", "caption"]
Parts = dict[str, TaggedText]
OPTIONS = {"answers": 4, "rationales": 4, "rationales_of_each": 16, "question": 0, "hypothesis": 0, "caption": 0}
"""Texts a sample; 0 = one, without an axis for it."""
PARTS = ("question", "answer", "rationale", "hypothesis", "caption")
"""Names of parts; stores number them by their place here."""
_LABELS = {"answers": "answer_label", "rationales": "rationale_label"}
_NEEDS: dict[str, tuple[str, ...]] = {
    "answers": ("question", "question_tags", "choices", "choice_tags"),
    "rationales": ("question", "question_tags", "choices", "choice_tags", "rationales", "rationale_tags"),
    "question": ("question", "question_tags"),
    "hypothesis": ("hypothesis",),
    "caption": (),
}
_NEEDS["rationales_of_each"] = _NEEDS["rationales"]


def fields_read(reads: Reads) -> tuple[str, ...]:
    """Names of the sample's fields that the texts are made of."""
    return _NEEDS[reads] + (("answer_label",) if reads == "rationales" else ())


def question_texts(sample: Sample, reads: Reads) -> list[Parts]:
    """The texts by their names, one dict an option.

    `answers`: the question and each answer. `rationales`: the question, the right answer (the first where it isn't
    known) and each rationale; `rationales_of_each`: four for each answer in turn. `caption`: each of the captions.

    Raises:
        UserError: the sample has none of the kind.
    """
    for name in _NEEDS[reads]:
        if name not in sample.fields:
            formats = {"hypothesis": "snli_ve", "question": "vcr, vqa_v2, easy_vqa"}.get(reads, "vcr")
            raise UserError(f"'{sample.id}' has no '{name}', which the model reads; give data of format {formats}")
    fields = sample.fields
    if reads == "caption":
        if not sample.captions:
            raise UserError(f"'{sample.id}' has no caption, which the model reads; give data with captions")
        tags = fields.get("caption_tags") or [()] * len(sample.captions)
        return [{"caption": tagged(*pair)} for pair in zip(sample.captions, tags, strict=True)]
    if reads == "hypothesis":
        return [{"hypothesis": TaggedText(str(fields["hypothesis"]))}]
    question = {"question": tagged(fields["question"], fields["question_tags"])}
    if reads == "question":
        return [question]
    answers = [tagged(*pair) for pair in zip(fields["choices"], fields["choice_tags"], strict=True)]
    if reads == "answers":
        return [{**question, "answer": answer} for answer in answers]
    reasons = [tagged(*pair) for pair in zip(fields["rationales"], fields["rationale_tags"], strict=True)]
    given = answers if reads == "rationales_of_each" else [answers[int(fields.get("answer_label") or 0)]]
    return [{**question, "answer": answer, "rationale": reason} for answer in given for reason in reasons]


def label_of(sample: Sample, reads: Reads) -> int | None:
    """Which of `question_texts` says what is right, None = it isn't known; 0 where there is one, or captions, which are
    all right."""
    label = _LABELS.get(reads)
    found = 0 if label is None else sample.fields.get(label)
    return None if found is None else int(found)


def option_read(sample: Sample, reads: Reads) -> int:
    """Which of `question_texts` is read where one is: the right one, or one by hash of the id where it isn't known."""
    known = label_of(sample, reads)
    return integer(OPTIONS[reads], 0, "option read", sample.id) if known is None else known
