"""Files of answers, lmms-eval's shape of results, and the command `score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipdistill import cli
from clipdistill.errors import UserError
from clipdistill.evaluate.vlm import (
    BENCHMARKS,
    lmms_eval_results,
    read_answers,
    read_questions,
    score_answers_file,
    write_llava_answers,
)
from tests.evaluate.vlm import vlm_files as made

ROWS = {"1": ("yes", "verify", "attr"), "2": ("no", "verify", "obj")}


def answers_of(file: Path, questions: Path, name: str = "gqa") -> dict[str, str]:
    return read_answers(file, BENCHMARKS[name], read_questions(name, questions))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"question_id": 1, "text": "Yes", "model_id": "x"}\n\n{"question_id": "2", "text": "No"}\n'),
        ("a.json", [{"question_id": 1, "answer": "Yes"}, {"question_id": 2, "answer": "No"}]),  # VQA's
        ("a.json", [{"questionId": "1", "prediction": "Yes"}, {"questionId": "2", "prediction": "No"}]),  # GQA's
        ("a.json", {"1": "Yes", "2": "No"}),  # MMMU's
        ("a.jsonl", 2 * '{"question_id": 1, "text": "Yes"}\n' + '{"question_id": 2, "text": "No"}'),
    ],
)  # fmt: skip
def test_the_forms_that_users_have(tmp_path: Path, name: str, content: Any) -> None:
    assert answers_of(made.write(tmp_path / name, content), made.gqa(tmp_path, ROWS)) == {"1": "Yes", "2": "No"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"question_id": 1, "text": "a"}\n{"question_id": 1, "text": "b"}', r"2, `text`: is another answer to"),
        ('{"question_id": 3, "text": "Yes"}', r"gqa: .*a.jsonl, line 1, `question_id`: '3' is no question of gqa"),
        ('{"text": "Yes"}', r"line 1, `question_id`: is missing; the row has text"),
        ('{"question_id": 1}', r"line 1, `text`: is missing"),
        ('{"question_id": 1, "text": null}', r"line 1, `text`: is null, not a text"),
        ('{"question_id": 1.5, "text": "x"}', r"`question_id`: is 1.5, neither a number nor a text"),
        ('{"question_id": 1', r"line 1: isn't valid JSON"),
        ("[1]", r"line 1: is a list of 1, not a JSON object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        answers_of(made.write(tmp_path / "a.jsonl", content), made.gqa(tmp_path, ROWS))
    assert "\n" not in str(error.value)


def test_a_line_separator_within_an_answer_does_not_end_the_line(tmp_path: Path) -> None:
    file = made.write(tmp_path / "a.jsonl", '{"question_id": 1, "text": "Yes\u2028it is"}\n')
    assert answers_of(file, made.gqa(tmp_path, ROWS)) == {"1": "Yes\u2028it is"}


def test_textvqa_of_llava_is_told_by_the_question_in_the_prompt(tmp_path: Path) -> None:
    gold = ["x"] * 10
    rows = [
        (1, "0a", "What is it?", gold),
        (2, "0a", "Who is it?", gold),
        (3, "0b", "Why?", gold),
        (4, "0b", "Why?", gold),
    ]
    file = made.textvqa(tmp_path, rows)
    said = [
        {"question_id": "0a", "prompt": "Who is it?\nReference OCR token: what, is\nAnswer ...", "text": "two"},
        {"question_id": "0a", "prompt": "Reference OCR token: a\nWhat IS it?\nAnswer ...", "text": "one"},
        {"question_id": "0b", "prompt": "Why?\nAnswer ...", "text": "three"},
        {"question_id": "0b", "prompt": "Why?\nAnswer ...", "text": "four"},  # asked twice: in their order
    ]
    found = answers_of(made.lines(tmp_path / "a.jsonl", said), file, "textvqa")
    assert found == {"1": "one", "2": "two", "3": "three", "4": "four"}


def test_llavas_file_is_written_and_read_again(tmp_path: Path) -> None:
    questions = read_questions("gqa", made.gqa(tmp_path, ROWS))
    write_llava_answers(tmp_path / "a.jsonl", questions, {"2": "Nö"}, "student")
    (row,) = map(json.loads, (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines())
    assert row == {"question_id": 2, "prompt": questions[1].prompt, "text": "Nö", "model_id": "student", "metadata": {}}
    assert read_answers(tmp_path / "a.jsonl", BENCHMARKS["gqa"], questions) == {"2": "Nö"}


def test_results_in_lmms_evals_shape() -> None:
    metrics = {"accuracy": 0.5, "f1": 0.4, "yes_share": 0.5, "f1/random": 0.3}
    found = lmms_eval_results(BENCHMARKS["pope"], "lmms_eval", metrics, 9)
    assert found["results"]["pope"]["pope_f1_score,none"] == 0.4
    assert found["results"]["pope"]["pope_yes_ratio,none"] == 0.5
    assert found["results"]["pope"]["pope_accuracy_stderr,none"] == "N/A"
    assert "pope_recall,none" not in found["results"]["pope"]
    assert found["higher_is_better"]["pope"] == {f"pope_{name}": True for name in ("accuracy", "f1_score", "yes_ratio")}
    assert found["n-samples"] == {"pope": {"original": 9, "effective": 9}}
    with pytest.raises(UserError, match="pope: scored by rule 'official'; lmms-eval's results are of rule 'lmms_eval'"):
        lmms_eval_results(BENCHMARKS["pope"], "official", metrics, 9)


def test_every_benchmarks_lmms_metrics_are_what_its_rule_gives(tmp_path: Path) -> None:
    made.pope(tmp_path / "pope", {"random": "yn"})
    made.mme(tmp_path / "mme", {"count": ["1.jpg"]})
    made.gqa(tmp_path / "gqa", ROWS)
    made.vqa(tmp_path / "vqa_v2", {1000: ["cat"] * 10})
    made.textvqa(tmp_path / "textvqa", [(1, "a", "What?", ["x"] * 10)])
    made.scienceqa(tmp_path / "scienceqa", {"1": {"image": "image.png"}})
    made.write(tmp_path / "mmmu/answer_dict_val.json", {"a_Art_1": {"question_type": "x", "ground_truth": "1"}})
    for name, benchmark in BENCHMARKS.items():
        questions = read_questions(name, tmp_path / name)
        given = benchmark.score(questions, {}, "lmms_eval")
        assert set(benchmark.lmms) <= set(given), name
        assert given.get("accuracy", 0) == 0 and "lmms_eval" in benchmark.rules


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = made.gqa(tmp_path / "gqa", ROWS)
    answers = made.lines(tmp_path / "a.jsonl", [{"question_id": "1", "text": "Yes."}])
    arguments = ["score", "gqa", "--questions", str(questions), "--answers", str(answers)]
    files = {name: tmp_path / f"{name}.json" for name in ("json", "submission", "lmms-eval")}
    given = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    assert cli.run([*arguments, *given, "--rule", "lmms_eval"]) == 0
    shown = capsys.readouterr().out
    assert "gqa by rule lmms_eval" in shown and "1 of 2 questions have no answer and count as wrong: 2" in shown
    whole = json.loads(files["json"].read_text())
    assert (whole["evaluator"], whole["n"], whole["metrics"]["accuracy"]) == ("gqa", 2, 0.5)
    assert whole["artifacts"] == {"rule": "lmms_eval", "missing": 1, "missing_ids": ["2"]}
    assert json.loads(files["submission"].read_text())[0] == {"questionId": "1", "prediction": "yes"}
    assert json.loads(files["lmms-eval"].read_text())["results"]["gqa"]["exact_match,none"] == 0.5
    assert cli.run([*arguments, "--lmms-eval", str(files["lmms-eval"])]) == 2
    assert "scored by rule 'tinyllava'" in capsys.readouterr().err
    assert cli.run(["score", "gqb", *arguments[2:]]) == 2
    assert "no benchmark 'gqb'" in capsys.readouterr().err
    assert cli.run([*arguments[:3], str(tmp_path / "none"), *arguments[4:]]) == 2
    assert "gqa: " in (error := capsys.readouterr().err) and "no such file or folder; give testdev" in error


def test_a_submission_of_questions_without_answers_needs_no_score(tmp_path: Path) -> None:
    made.vqa(tmp_path / "vqa", {7000: []}, split="test-dev2015")
    answers = made.lines(tmp_path / "a.jsonl", [{"question_id": 7000, "text": "cat"}])
    given: dict[str, Any] = {"split": "test-dev", "submission": tmp_path / "out.json"}
    found = score_answers_file("vqa_v2", tmp_path / "vqa", answers, **given)
    assert found.metrics == {} and found.artifacts == {"rule": "official", "missing": 0}
    assert json.loads((tmp_path / "out.json").read_text()) == [{"question_id": 7000, "answer": "cat"}]
    with pytest.raises(UserError, match="no published answer"):
        score_answers_file("vqa_v2", tmp_path / "vqa", answers, split="test-dev")
