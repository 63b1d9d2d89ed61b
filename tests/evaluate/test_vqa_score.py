"""The official VQA score: its five values, and the scorer's quirks."""

from __future__ import annotations

import pytest

from clipdistill.evaluate.vqa_score import normalise, score_answers, vqa_score


@pytest.mark.parametrize(("people", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)])
def test_ten_leave_one_out_subsets(people: int, score: float) -> None:
    # 1 of ten: nine subsets still have it, each worth 1/3. 3 of ten: three subsets have two left, seven have three.
    given = ["red"] * people + [f"other {number}" for number in range(10 - people)]
    assert vqa_score("red", given) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("The cat.", "cat"),
        ("two dogs", "2 dogs"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("whats up", "what's up"),
        ("somebody'd", "somebodyd"),  # the entry of the official table that goes the other way
        ("a/b", "b"),  # a mark without a space beside it becomes one, and "a" is then an article
        ("x/ y/z", "x yz"),  # beside a space anywhere, it goes everywhere
        ("1,000-ish", "1000ish"),  # a comma between digits: every mark goes, and none leaves a space
        ("1.5", "1.5"),
        ("no. 5", "no 5"),
        ("I'm", "i'm"),  # lower-cased before the table is asked, whose "Im" is never found
        ("Im", "im"),
    ],
)
def test_answers_are_processed_as_the_official_scorer_does(answer: str, wanted: str) -> None:
    assert normalise(answer) == wanted


def test_at_most_32_full_stops_go() -> None:
    assert normalise("x" + "." * 40) == "x" + "." * 8


def test_unanimous_answers_are_compared_raw_unless_asked() -> None:
    given = ["the cat"] * 10
    assert vqa_score("cat", given) == 0
    assert vqa_score("the cat", given) == 1
    assert vqa_score("The cat", given) == 0
    assert vqa_score("cat", given, always_normalise=True) == 1
    assert vqa_score("cat", ["the cat"] * 9 + ["dog"]) == 1  # not unanimous: both sides are processed
    assert vqa_score(" the\tcat\n", given) == 1


def test_one_answer_is_right_or_wrong() -> None:
    assert vqa_score("yes", ["yes"]) == 1 and vqa_score("no", ["yes"]) == 0
    with pytest.raises(ValueError, match="no answers"):
        vqa_score("yes", [])


def test_means_overall_and_by_type() -> None:
    fields = [
        {"answers": ["2"] * 9 + ["two"], "answer_type": "number", "question_type": "how many"},
        {"answers": ["yes"] * 5 + ["no"] * 5, "answer_type": "yes/no", "question_type": "is"},
        {"answers": ["red", *["blue"] * 9], "answer_type": "other"},
    ]
    found = score_answers(["two", "no", "red"], fields)
    assert found.accuracy == pytest.approx((1 + 1 + 0.3) / 3)
    assert found.by_answer_type == pytest.approx({"number": 1, "other": 0.3, "yes/no": 1})
    assert found.by_question_type == pytest.approx({"how many": 1, "is": 1})
    with pytest.raises(ValueError, match="2 answers to 3"):
        score_answers(["a", "b"], fields)
