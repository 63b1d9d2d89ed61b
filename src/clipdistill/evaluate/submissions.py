"""What leaderboards take: VCR's CSV and VQA's JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipdistill.files import write_text

VCR_COLUMNS = (
    "annot_id",
    *(f"answer_{answer}" for answer in range(4)),
    *(f"rationale_conditioned_on_a{answer}_{rationale}" for answer in range(4) for rationale in range(4)),
)
"""The 21 columns: probabilities of the answers, and of the rationales given each answer."""


def write_vcr_submission(path: str | Path, ids: Sequence[str], answers: np.ndarray, rationales: np.ndarray) -> None:
    """Write VCR's CSV, a line a question.

    Args:
        ids: annot_ids. answers: float [N, 4]. rationales: float [N, 4, 4], given each answer.

    Raises:
        ValueError: other shapes, or a number that isn't finite.
    """
    table = np.concatenate([answers, rationales.reshape(len(rationales), -1)], axis=1)
    if table.shape != (len(ids), len(VCR_COLUMNS) - 1) or not np.isfinite(table).all():
        raise ValueError(f"VCR's submission takes 20 finite numbers a question, not {table.shape}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(VCR_COLUMNS)
    writer.writerows([one, *(f"{value:.6g}" for value in row)] for one, row in zip(ids, table, strict=True))
    write_text(path, text.getvalue())


def write_vqa_submission(path: str | Path, question_ids: Sequence[int], answers: Sequence[str]) -> None:
    """Write VQA's JSON: a list of `{"question_id", "answer"}`."""
    rows = [{"question_id": int(n), "answer": answer} for n, answer in zip(question_ids, answers, strict=True)]
    write_text(path, json.dumps(rows, ensure_ascii=False) + "\n")
