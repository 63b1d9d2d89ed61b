"""IM: which questions a language model's answers leave out, and the two parts on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clipdistill.data import open_source
from clipdistill.errors import UserError
from clipdistill.evaluate.predictions import Predictions, write_predictions
from clipdistill.mitigate import mitigate_vcr
from tests.mitigate.vcr_records import record, write_vcr

CHANCES = [
    [0.90, 0.04, 0.03, 0.03],  # right, and just sure enough
    [0.89, 0.05, 0.03, 0.03],  # right, not sure: kept
    [0.02, 0.96, 0.01, 0.01],  # sure, and wrong: kept
    [0.03, 0.02, 0.94, 0.01],  # right and sure, label 2
    [0.50, 0.50, 0.00, 0.00],  # the first of two equals is its answer, and isn't right
]
LABELS = [0, 0, 0, 2, 1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    items = [
        record("Why ?", ["a .", "b .", "c .", "d ."], label, annot_id=f"val-{k}") for k, label in enumerate(LABELS)
    ]
    return write_vcr(tmp_path, items)


def predictions(folder: Path, rows: list[int], name: str = "answers") -> Path:
    # In another order than the file's: questions are matched by id.
    ids = tuple(f"val-{row}" for row in rows)
    write_predictions(folder / "p.npz", Predictions(ids, {name: np.array([CHANCES[row] for row in rows])}))
    return folder / "p.npz"


def test_what_is_answered_right_and_surely_by_text_goes(file: Path, tmp_path: Path) -> None:
    summary = mitigate_vcr(file, "im", tmp_path, by=predictions(tmp_path, [4, 3, 2, 1, 0]))
    kept = [json.loads(line) for line in (tmp_path / "val-im.jsonl").read_text().splitlines()]
    originals = [json.loads(line) for line in file.read_text().splitlines()]
    assert kept == [originals[1], originals[2], originals[4]], "kept records are as they were"
    shown = {key: summary[key] for key in ("kept", "dropped", "changes", "language_biased", "image_biased",
                                           "answered_right_by_text", "kept_though_right")}  # fmt: skip
    assert shown == {
        "kept": 3, "dropped": 2, "changes": 0, "language_biased": 2, "image_biased": 3, "answered_right_by_text": 3,
        "kept_though_right": 1,
    }  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "val-im.changes.jsonl").read_text().splitlines()]
    why = "left out: answered right by its text, with a probability of 0.9 or more"
    assert log == [{"annot_id": f"val-{k}", "choices": None, "why": why} for k in (0, 3)]


def test_the_parts_are_subsets_that_a_source_takes(file: Path, tmp_path: Path) -> None:
    mitigate_vcr(file, "im", tmp_path / "im.jsonl", by=predictions(tmp_path, [0, 1, 2, 3, 4]))
    rest = {"format": "vcr", "path": str(file), "subset": str(tmp_path / "im.image-biased.json")}
    assert open_source(rest).ids == ["val-1", "val-2", "val-4"]
    biased = {"format": "vcr", "path": str(file), "subset": str(tmp_path / "im.language-biased.json")}
    assert open_source(biased).ids == ["val-0", "val-3"]


def test_questions_without_an_answer_are_left_out_and_named(file: Path, tmp_path: Path) -> None:
    summary = mitigate_vcr(file, "im", tmp_path, by=predictions(tmp_path, [0, 2]))
    assert (summary["kept"], summary["dropped"]) == (1, 4)
    assert summary["dropped_by_reason"]["the model gave no answer (its picture can't be read)"] == 3


def test_predictions_of_something_else(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no probabilities of four answers"):
        mitigate_vcr(file, "im", tmp_path, by=predictions(tmp_path, [0], "classes"))
    write_predictions(tmp_path / "p.npz", Predictions(("test-1",), {"answers": np.array([CHANCES[0]])}))
    with pytest.raises(UserError, match="has no answers to the questions of"):
        mitigate_vcr(file, "im", tmp_path, by=tmp_path / "p.npz")
    with pytest.raises(UserError, match="im leaves none of its 5 questions"):
        mitigate_vcr(write_vcr(tmp_path, [record("Why ?", ["a ."] * 4, 0, annot_id=f"val-{k}") for k in range(5)]),
                     "im", tmp_path, by=predictions(tmp_path, [0]), confidence=0.5)  # fmt: skip
    assert not (tmp_path / "val-im.jsonl").exists()
