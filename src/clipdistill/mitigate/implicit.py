"""Implicit mitigation (IM): questions that a language model answers right, and surely, by text alone are left out.

Source: CLIP-TD (2022), supplement 8.4: a BERT trained on VCR "using only the text" parts the test data into
"language-biased questions correctly answered by BERT with high confidence, and image-biased questions incorrectly
answered by BERT", with a threshold of 90 %. Between the two lie those that it answers right without being sure: they
are kept. A question goes by its answers (Q->A) alone, with its rationales.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.evaluate.predictions import Predictions
from clipdistill.files import write_json
from clipdistill.mitigate.shortcut_rules import UNLABELLED
from clipdistill.mitigate.vcr_files import Outcome, Record, VcrFile, beside

CONFIDENCE = 0.9
UNANSWERED = "the model gave no answer (its picture can't be read)"
Chances = Mapping[str, np.ndarray]
"""annot_id -> probabilities of the four answers."""


def implicit(one: str, record: Record, *, chances: Chances, confidence: float) -> Outcome:
    """Leave a record out if the model's best answer is right, with a probability of at least `confidence`."""
    if record.get("answer_label") is None:
        return Outcome(None, why=UNLABELLED)
    if one not in chances:
        return Outcome(None, why=UNANSWERED)
    if is_biased(record, chances[one], confidence):
        return Outcome(None, why=f"answered right by its text, with a probability of {confidence:g} or more")
    return Outcome(record)


def by_chances(chances: Chances, confidence: float) -> partial[Outcome]:
    """The rule `implicit` with its settings."""
    return partial(implicit, chances=chances, confidence=confidence)


def is_biased(record: Record, chances: np.ndarray, confidence: float) -> bool:
    """Whether the right answer is the most probable one (the first of several), and at least that probable."""
    best = int(np.argmax(chances))
    # In the file's own precision: 0.9 as a float32 is a little less than 0.9.
    return best == record["answer_label"] and bool(chances[best] >= chances.dtype.type(confidence))


def chances_of(predictions: Predictions, file: VcrFile, named: str) -> dict[str, np.ndarray]:
    """Probabilities by the file's ids.

    Raises:
        UserError: the predictions hold no answers to these questions.
    """
    answers = predictions.arrays.get("answers")
    if answers is None or answers.shape[1:] != (4,):
        raise UserError(f"--by {named}: holds no probabilities of four answers; it is of another suite than vcr")
    found = {one: answers[row] for row, one in enumerate(predictions.ids) if one in file.records}
    if not found:
        raise UserError(f"--by {named}: has no answers to the questions of {file.path}; it is of other data")
    return found


def write_partition(path: Path, file: VcrFile, chances: Chances, confidence: float) -> dict[str, Any]:
    """Write the ids of the two parts, as files that `subset` of a source takes; return the summary's part."""
    answered = {
        one: record for one, record in file.records.items() if one in chances and record.get("answer_label") is not None
    }
    biased = [one for one, record in answered.items() if is_biased(record, chances[one], confidence)]
    gone = set(biased)
    rest = [one for one in answered if one not in gone]
    right = [one for one in rest if int(np.argmax(chances[one])) == answered[one]["answer_label"]]
    about = {"data": str(file.path), "confidence": confidence}
    write_json(beside(path, "language-biased.json"), {**about, "ids": biased})
    write_json(beside(path, "image-biased.json"), {**about, "ids": rest})
    return {
        "confidence": confidence, "language_biased": len(biased), "image_biased": len(rest),
        "answered_right_by_text": len(biased) + len(right), "kept_though_right": len(right),
    }  # fmt: skip
