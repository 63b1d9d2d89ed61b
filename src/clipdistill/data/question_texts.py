"""What is read of a question: its parts, as texts with their tags, one set for each option.

A part's name says where in a model's sequence it goes; whoever reads a question, a student or its teacher, reads these.
"""

from __future__ import annotations

from typing import Literal

from clipdistill.data.question_fields import tagged
from clipdistill.data.sample import Sample
from clipdistill.data.tagged_text import TaggedText
from clipdistill.errors import UserError

Reads = Literal["answers", "rationales", "rationales_of_each", "question", "hypothesis"]
TrueText = Literal["answers", "rationales", "question", "hypothesis"]
OPTIONS = {"answers": 4, "rationales": 4, "rationales_of_each": 16, "question": 0, "hypothesis": 0}
"""Texts a sample; 0 = one, without an axis for it."""
NEEDS: dict[str, tuple[str, ...]] = {
    "answers": ("question", "question_tags", "choices", "choice_tags"),
    "rationales": ("question", "question_tags", "choices", "choice_tags", "rationales", "rationale_tags"),
    "question": ("question", "question_tags"),
    "hypothesis": ("hypothesis",),
}
NEEDS["rationales_of_each"] = NEEDS["rationales"]
PARTS = ("question", "answer", "rationale", "hypothesis")
"""Names of parts, numbered by their place here."""
