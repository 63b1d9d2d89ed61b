"""The official score of VQA: an answer against those of ten people.

Source: Antol et al. 2015, and the rules of GT-Vision-Lab's scorer with its quirks. The processing of an answer and the
table of contractions are `data/vqa_answers.py`'s, because vocabularies are made by the same rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipdistill.data.vqa_answers import process_punctuation, process_words

AGREEMENT = 3
"""An answer that three others gave is right in full."""


def vqa_score(answer: str, given: Sequence[str], *, always_normalise: bool = False) -> float:
    """The score of one answer: 0, 0.3, 0.6, 0.9 or 1 where ten people answered.

    Each person is left out in turn, and the answer scores min(1, matches among the others / 3); the score is the mean
    of the ten. Punctuation, number words, articles and contractions are processed on both sides only if the answers
    given differ: where all ten agree, the answer is compared as it stands, letter by letter.

    Args:
        answer: what the model says.
        given: what people said, ten of them. A single one (easy-VQA) is right or wrong.
        always_normalise: process where all agree too, as lmms-eval does; the score is then slightly higher.

    Raises:
        ValueError: nobody answered.
    """
    if not given:
        raise ValueError("no answers to compare with")
    people = [_one_line(one) for one in given]
    answer = _one_line(answer)
    if always_normalise or len(set(people)) > 1:
        people = [normalise(one) for one in people]
        answer = normalise(answer)
    return leave_one_out([one == answer for one in people])


def leave_one_out(matches: Sequence[bool]) -> float:
    """The mean, over each person left out, of min(1, matches among the others / 3); of a single person, the match."""
    if len(matches) == 1:
        return float(matches[0])
    total = sum(matches)
    return sum(min(1.0, (total - own) / AGREEMENT) for own in matches) / len(matches)


def normalise(answer: str) -> str:
    """The official processing of an answer: first its punctuation, then its words."""
    return process_words(process_punctuation(answer))


@dataclass(frozen=True)
class Scored:
    """Scores of many answers.

    Attributes:
        accuracy: the mean score, between 0 and 1 (the official code gives it times 100).
        by_answer_type, by_question_type: means of the questions of each, in alphabetical order.
    """

    accuracy: float
    by_answer_type: dict[str, float]
    by_question_type: dict[str, float]


def score_answers(
    answers: Sequence[str], fields: Sequence[Mapping[str, Any]], *, always_normalise: bool = False
) -> Scored:
    """Score answers against samples' fields `answers`, and perhaps `answer_type` and `question_type`.

    Raises:
        ValueError: no answers, or another number of them than of samples.
    """
    if not answers or len(answers) != len(fields):
        raise ValueError(f"{len(answers)} answers to {len(fields)} questions")
    scores = [
        vqa_score(answer, each["answers"], always_normalise=always_normalise)
        for answer, each in zip(answers, fields, strict=True)
    ]
    return Scored(
        sum(scores) / len(scores),
        _means(scores, [each.get("answer_type") for each in fields]),
        _means(scores, [each.get("question_type") for each in fields]),
    )


def _means(scores: Sequence[float], groups: Sequence[str | None]) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for score, group in zip(scores, groups, strict=True):
        if group:
            found[group].append(score)
    return {group: sum(some) / len(some) for group, some in sorted(found.items())}


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
