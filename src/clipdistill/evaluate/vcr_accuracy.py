"""VCR's accuracies: the right answer, the right rationale, and both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VcrScores:
    """What a model thinks of N questions: probabilities, or any scores of which the highest is chosen.

    Attributes:
        answers: float [N, 4]; None = weren't asked for.
        rationales: float [N, 4, 4], given each answer; NaN where a row wasn't asked for, None where none was.
    """

    answers: Tensor | None
    rationales: Tensor | None


def vcr_accuracies(
    scores: VcrScores, answer_label: Tensor, rationale_label: Tensor, types: Sequence[Sequence[str]] | None = None
) -> dict[str, float]:
    """Q->A, QA->R and Q->AR over all questions, and by type of question.

    The rationale is read from the row of the *right* answer, for QA->R and for Q->AR alike, as in R2C's scorer; ties
    go to the first option. `q2ar_product` is Q->A times QA->R: CLIP-TD's table 7 prints that under the name of Q->AR
    (.7602 x .7831 = .5953, and so in each row); it is lower where the same questions are easy in both ways.

    Args:
        scores: the row of the right answer must have been asked for.
        answer_label, rationale_label: int64 [N], 0 to 3.
        types: of each question, one or more.

    Returns:
        `q2a`, `qa2r`, `q2ar`, `q2ar_product`, and `q2a/TYPE`, `qa2r/TYPE`, `q2ar/TYPE`; those that can be known.

    Raises:
        ValueError: no questions, labels that aren't 0 to 3, or the right answer's row is missing.
    """
    known = [each for each in (scores.answers, scores.rationales) if each is not None and len(each)]
    if not known:
        raise ValueError("no questions")
    count = len(known[0])
    for label in (answer_label, rationale_label):
        if len(label) != count or not ((label >= 0) & (label < known[0].shape[1])).all():
            raise ValueError("labels must be 0 to 3, one a question")
    right: dict[str, Tensor] = {}
    if scores.answers is not None:
        right["q2a"] = scores.answers.argmax(1) == answer_label
    if scores.rationales is not None:
        given = scores.rationales[torch.arange(count), answer_label]
        if given.isnan().any():
            raise ValueError("rationales weren't scored for the right answer")
        right["qa2r"] = given.argmax(1) == rationale_label
    if len(right) == 2:
        right["q2ar"] = right["q2a"] & right["qa2r"]
    found = {name: float(each.double().mean()) for name, each in right.items()}
    if "q2ar" in found:
        found["q2ar_product"] = found["q2a"] * found["qa2r"]
    rows: dict[str, list[int]] = defaultdict(list)
    for row, some in enumerate(types or ()):
        for one in some:
            rows[one].append(row)
    for name, each in right.items():
        found |= {f"{name}/{one}": float(each[some].double().mean()) for one, some in sorted(rows.items())}
    return found
