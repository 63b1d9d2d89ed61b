"""VQA v2 and TextVQA: the official rule, where others differ, prompts, and files that can't be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.evaluate.vlm import BENCHMARKS, read_questions, score
from clipdistill.evaluate.vlm.textvqa import evalai_answer, read_textvqa
from tests.evaluate.vlm import vlm_files as made

SHORT = "Answer the question using a single word or phrase."


def test_vqa_is_asked_as_llava_asks_it(tmp_path: Path) -> None:
    (one,) = read_questions("vqa_v2", made.vqa(tmp_path, {42001: ["cat"] * 10}))
    assert (one.id, one.prompt) == ("42001", f"What is 42001?\n{SHORT}")
    assert one.image == "COCO_val2014_000000000042.jpg" and one.gold == ("cat",) * 10


def test_vqa_compares_unanimous_answers_raw_and_lmms_eval_does_not(tmp_path: Path) -> None:
    # 1: all ten agree, so "The cat." isn't "cat" officially. 2: nine of ten differ from one, so both are processed.
    gold = {1000: ["cat"] * 10, 2000: ["cat"] * 9 + ["dog"], 3000: ["2"] + ["3"] * 9}
    questions = read_questions("vqa_v2", made.vqa(tmp_path, gold, types=["other", "other", "number"]))
    answers = {"1000": "The cat.", "2000": "The cat.", "3000": "two"}
    found = {rule: score("vqa_v2", questions, answers, rule=rule).metrics for rule in BENCHMARKS["vqa_v2"].rules}
    assert found["official"]["accuracy"] == pytest.approx((0 + 1 + 0.3) / 3)
    assert found["official"]["accuracy/other"] == pytest.approx(0.5)
    assert found["official"]["accuracy/number"] == pytest.approx(0.3)
    assert found["lmms_eval"]["accuracy"] == pytest.approx((1 + 1 + 0.3) / 3)
    assert found["tinyllava"]["accuracy"] == pytest.approx((1 + 1 + 0.3) / 3)  # what is handed in is "cat"


def test_tinyllava_hands_in_another_answer_than_was_said(tmp_path: Path) -> None:
    questions = read_questions("vqa_v2", made.vqa(tmp_path, {1000: ["dog's"] * 10}))
    assert score("vqa_v2", questions, {"1000": "dog's"}).metrics["accuracy"] == 1
    assert score("vqa_v2", questions, {"1000": "dog's"}, rule="tinyllava").metrics["accuracy"] == 0  # "dog 's"


def test_questions_without_answers_are_for_a_submission(tmp_path: Path) -> None:
    questions = read_questions("vqa_v2", made.vqa(tmp_path, {7000: [], 7001: []}, split="test-dev2015"), "test-dev")
    assert questions[0].image == "COCO_test2015_000000000007.jpg"
    with pytest.raises(UserError, match="2 of 2 questions have no published answer, the first: '7000'"):
        score("vqa_v2", questions, {})
    BENCHMARKS["vqa_v2"].write(tmp_path / "out.json", questions, {"7001": "Yes"})
    wanted = [{"question_id": 7000, "answer": ""}, {"question_id": 7001, "answer": "Yes"}]  # the server wants all
    assert json.loads((tmp_path / "out.json").read_text()) == wanted


def test_vqa_files_that_cannot_be_used(tmp_path: Path) -> None:
    made.vqa(tmp_path, {1000: ["cat"] * 9})
    with pytest.raises(UserError, match=r"vqa_v2: .*annotations.json, .*annotations 0, `answers`: holds 9, not 10"):
        read_questions("vqa_v2", tmp_path)
    made.vqa(tmp_path, {1000: ["cat"] * 10})
    made.write(tmp_path / "v2_mscoco_val2014_annotations.json", {"annotations": []})
    with pytest.raises(UserError, match="questions 0, `question_id`: 1000 has no annotation in"):
        read_questions("vqa_v2", tmp_path)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("1,000", "1000"),  # commas go before VQA's processing sees them
        ("dog's", "dog 's"),
        ("The Exit?", "exit"),
        ("a/b", "b"),
        ("two\ndogs", "2 dogs"),
    ],
)
def test_evalai_processing(said: str, wanted: str) -> None:
    assert evalai_answer(said) == wanted


def test_textvqa_leaves_one_out_after_processing_even_where_all_agree(tmp_path: Path) -> None:
    rows = [
        (1, "a", "What is it?", ["The Exit"] * 10),
        (2, "b", "Who?", ["x"] * 2 + ["y"] * 8),
        (3, "c", "Why?", ["the"] * 10),
    ]
    questions = read_questions("textvqa", made.textvqa(tmp_path, rows))
    for rule in ("official", "lmms_eval"):  # they differ in the prompt alone
        assert score("textvqa", questions, {"1": "exit.", "2": "X", "3": "b"}, rule=rule).metrics == {
            "accuracy": pytest.approx((1 + 0.6 + 0) / 3)
        }
    # What is missing is wrong even where the right answer is processed into nothing.
    assert score("textvqa", questions, {"3": "a"}).metrics["accuracy"] == pytest.approx(1 / 3)
    assert score("textvqa", questions, {}).metrics["accuracy"] == 0


def test_textvqa_with_ocr_tokens_and_without(tmp_path: Path) -> None:
    file = made.textvqa(tmp_path, [(1, "0ab", "What is it?", ["x"] * 10)])
    assert read_textvqa(tmp_path)[0].prompt == f"What is it?\n{SHORT}"
    with_tokens = read_textvqa(file, ocr=tmp_path / "TextVQA_Rosetta_OCR_v0.2_val.json")[0]
    assert with_tokens.prompt == f"What is it?\nReference OCR token: 0ab, EXIT\n{SHORT}"
    assert with_tokens.image == "0ab.jpg"
    made.write(tmp_path / "ocr.json", {"data": []})
    with pytest.raises(UserError, match="`image_id`: '0ab' has no OCR tokens in"):
        read_textvqa(file, ocr=tmp_path / "ocr.json")
