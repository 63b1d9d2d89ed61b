"""POPE: how yes and no are told, the five measures by hand, LLaVA's ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.evaluate.vlm import BENCHMARKS, read_answers, read_questions, score
from clipdistill.evaluate.vlm.pope import parse_official
from tests.evaluate.vlm import vlm_files as made


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("no, there is none", "no"),  # the comma goes before the words are parted
        ("There is not", "no"),
        ("Yes, there is no doubt", "no"),  # "no" as a word anywhere in the first sentence
        ("Yes. There is no dog", "yes"),  # the second sentence isn't read
        ("NO", "yes"),  # only "No", "no" and "not" count
        ("nope", "yes"),
        ("no\n", "yes"),  # words are parted by spaces alone
        ("", "yes"),
    ],
)
def test_the_official_parse(said: str, found: str) -> None:
    assert parse_official(said) == found


def test_five_measures_by_category_and_their_mean(tmp_path: Path) -> None:
    questions = read_questions("pope", made.pope(tmp_path, {"random": "yynn", "adversarial": "ynnnn"}))
    assert [one.id for one in questions][:2] == ["random/1", "random/2"]
    said = dict(zip((one.id for one in questions), "Yes Yes Yes No Yes Yes No No No".split(), strict=True))
    found = score("pope", questions, said).metrics
    # random: TP 2, FP 1, TN 1. adversarial: TP 1, FP 1, TN 3.
    assert {name: found[f"{name}/random"] for name in ("accuracy", "precision", "recall", "f1", "yes_share")} == {
        "accuracy": 0.75, "precision": pytest.approx(2 / 3), "recall": 1, "f1": pytest.approx(0.8), "yes_share": 0.75,
    }  # fmt: skip
    assert found["f1/adversarial"] == pytest.approx(2 / 3) and found["yes_share/adversarial"] == 0.4
    assert found["f1"] == pytest.approx((0.8 + 2 / 3) / 2)  # the mean over categories, not F1 over all
    assert found["accuracy"] == pytest.approx((0.75 + 0.8) / 2)


def test_lmms_eval_pools_wants_the_bare_word_and_counts_gold_yes(tmp_path: Path) -> None:
    questions = read_questions("pope", made.pope(tmp_path, {"random": "yynn", "adversarial": "ynnnn"}))
    said = ["Yes", "Yes, there is", " yes ", "No", "Yes", "Yes", "No", "no.", "No"]
    answers = dict(zip((one.id for one in questions), said, strict=True))
    found = score("pope", questions, answers, rule="lmms_eval").metrics
    # "Yes, there is" and "no." are neither: wrong, but the former is no false negative. TP 2, FP 2.
    assert found["accuracy"] == pytest.approx(5 / 9)
    assert (found["precision"], found["recall"]) == (0.5, 1.0)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["yes_share"] == pytest.approx(3 / 9)  # of the gold answers, whatever was said
    official = score("pope", questions, answers).metrics
    assert official["yes_share/random"] == 0.75 and official["recall/random"] == 1


def test_a_model_that_never_says_yes_and_missing_answers(tmp_path: Path) -> None:
    questions = read_questions("pope", made.pope(tmp_path, {"random": "yynn"}))
    found = score("pope", questions, {one.id: "No" for one in questions}).metrics
    assert (found["precision"], found["recall"], found["f1"], found["accuracy"]) == (0, 0, 0, 0.5)
    found = score("pope", questions, {"random/1": "Yes"}).metrics
    assert (found["accuracy"], found["recall"], found["precision"], found["yes_share"]) == (0.25, 0.5, 1, 0.25)


def test_llavas_ids_belong_to_picture_and_question(tmp_path: Path) -> None:
    # LLaVA's file has ids of its own over all categories, lacks some questions, and has the first release's misprint.
    made.pope(tmp_path / "coco", {"random": "yny", "popular": "n"})
    end = "\nAnswer the question using a single word or phrase."
    rows = [
        {"question_id": 10_000_007, "image": "COCO_val2014_000000000003.jpg", "category": "random"},
        {"question_id": 10_000_009, "image": "COCO_val2014_000000000002.jpg", "category": "random"},
        {"question_id": 5, "image": "COCO_val2014_000000000001.jpg", "category": "popular"},
    ]
    rows = [row | {"text": f"Is there a {row['category']} in the imange?{end}"} for row in rows]
    made.lines(tmp_path / "llava_pope_test.jsonl", rows)
    questions = read_questions("pope", tmp_path / "coco")
    assert [(one.id, one.gold[0]) for one in questions] == [("10000009", "no"), ("10000007", "yes"), ("5", "no")]
    said = [{"question_id": row["question_id"], "text": "Yes", "prompt": row["text"]} for row in rows]
    answers = read_answers(made.lines(tmp_path / "a.jsonl", said), BENCHMARKS["pope"], questions)
    assert score("pope", questions, answers).metrics["accuracy/random"] == 0.5


def test_one_category_and_files_that_cannot_be_used(tmp_path: Path) -> None:
    made.pope(tmp_path, {"random": "yy", "popular": "n"})
    assert len(read_questions("pope", tmp_path, "popular")) == 1
    assert len(read_questions("pope", tmp_path / "coco_pope_random.json")) == 2
    with pytest.raises(UserError, match="pope: .* has no questions of adversarial; give the folder of"):
        read_questions("pope", tmp_path, "adversarial")
    made.lines(tmp_path / "coco_pope_random.json", [{"question_id": 1, "image": "x", "text": "y?", "label": "maybe"}])
    with pytest.raises(UserError, match=r"random.json, line 1, `label`: is 'maybe', neither yes nor no"):
        read_questions("pope", tmp_path)


def test_result_files_of_the_official_tool(tmp_path: Path) -> None:
    questions = read_questions("pope", made.pope(tmp_path, {"random": "yn"}))
    BENCHMARKS["pope"].write(tmp_path / "out", questions, {"random/2": "No"})
    first, second = (tmp_path / "out" / "random.json").read_text().splitlines()
    assert first == '{"question": "Is there a random in the image?", "answer": ""}' and second.endswith('"No"}')
