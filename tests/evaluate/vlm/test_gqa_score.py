"""GQA: what is compared by each rule, and the groups of the official script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.evaluate.vlm import BENCHMARKS, read_questions, score
from tests.evaluate.vlm import vlm_files as made


def test_each_rule_compares_what_it_should(tmp_path: Path) -> None:
    rows = {
        "1": ("yes", "verify", "attr"),
        "2": ("yes", "logical", "obj"),
        "3": ("t-shirt", "query", "cat"),
        "4": ("man", "query", "rel"),
    }
    questions = read_questions("gqa", made.gqa(tmp_path, rows))
    assert questions[0].image == "n1.jpg"
    assert questions[0].prompt == "Is it overcast?\nAnswer the question using a single word or phrase."
    answers = {"1": "Yes.", "2": "yes", "3": "tshirt", "4": " man"}
    # A space stays in every rule; only lmms-eval drops the hyphen, on both sides.
    assert score("gqa", questions, answers).metrics == {
        "accuracy": 0.5, "accuracy/binary": 1.0, "accuracy/open": 0.0, "accuracy/logical": 1.0, "accuracy/query": 0.0,
        "accuracy/verify": 1.0, "accuracy/attr": 1.0, "accuracy/cat": 0.0, "accuracy/obj": 1.0, "accuracy/rel": 0.0,
    }  # fmt: skip
    assert score("gqa", questions, answers, rule="official").metrics["accuracy"] == 0.25
    assert score("gqa", questions, answers, rule="lmms_eval").metrics["accuracy"] == 0.75


def test_missing_answers_are_wrong_and_named_and_unknown_ones_refused(tmp_path: Path) -> None:
    questions = read_questions("gqa", made.gqa(tmp_path, {f"20{n}": ("no", "verify", "obj") for n in range(30)}))
    found = score("gqa", questions, {"200": "no"})
    assert found.metrics["accuracy"] == pytest.approx(1 / 30)
    assert found.artifacts["missing"] == 29 and found.artifacts["missing_ids"] == [f"20{n}" for n in range(1, 21)]
    with pytest.raises(UserError, match="1 answers to questions that aren't there, the first: '2030'. Did you mean"):
        score("gqa", questions, {"2030": "no"})
    with pytest.raises(UserError, match="gqa: no rule 'lmms'; there are tinyllava, official, lmms_eval. Did you mean"):
        score("gqa", questions, {}, rule="lmms")


def test_unbalanced_questions_are_left_out_and_types_may_be_missing(tmp_path: Path) -> None:
    file = made.gqa(tmp_path, {"1": ("no", "verify", "obj"), "2": ("no", "verify", "obj")})
    content = json.loads(file.read_text())
    content["1"]["isBalanced"] = False
    del content["2"]["types"]
    made.write(file, content)
    (one,) = read_questions("gqa", file)
    assert one.id == "2" and score("gqa", [one], {"2": "no"}).metrics == {"accuracy": 1}
    content["2"]["types"] = {"structural": "verify"}
    made.write(file, content)
    with pytest.raises(UserError, match=r"gqa: .*json, row '2', types, `semantic`: is missing"):
        read_questions("gqa", file)


def test_predictions_are_what_the_official_script_reads(tmp_path: Path) -> None:
    questions = read_questions("gqa", made.gqa(tmp_path, {"1": ("no", "verify", "obj"), "2": ("no", "verify", "obj")}))
    BENCHMARKS["gqa"].write(tmp_path / "predictions.json", questions, {"1": "No."})
    wanted = [{"questionId": "1", "prediction": "no"}, {"questionId": "2", "prediction": ""}]
    assert json.loads((tmp_path / "predictions.json").read_text()) == wanted
