"""MME: its folders, the parse within four characters, scores by hand, LLaVA's ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.evaluate.vlm import BENCHMARKS, read_answers, read_questions, score
from clipdistill.evaluate.vlm.mme import parse_lmms_eval, parse_official
from tests.evaluate.vlm import vlm_files as made

SHORT = "Answer the question using a single word or phrase."


def test_both_layouts_are_read_and_asked_as_llava_asks(tmp_path: Path) -> None:
    root = tmp_path / "MME_Benchmark_release_version"
    made.mme(root, {"artwork": ["14.jpg"], "count": ["0002.png"]})
    count, other, art, _ = read_questions("mme", tmp_path)  # in the official order, and perception's count comes first
    assert (count.id, other.id, art.id) == ("count/0002#1", "count/0002#2", "artwork/14#1")
    assert (count.image, art.image) == ("count/0002.png", "artwork/images/14.jpg")
    assert count.prompt == f"Is it 0002?\n{SHORT}" and other.prompt == f"Is it not 0002?\n{SHORT}"
    assert (count.gold, other.gold) == (("yes",), ("no",))


@pytest.mark.parametrize(
    ("said", "official", "lmms_eval"),
    [
        ("Yes", "yes", "yes"),
        ("No.", "no", "no"),
        ("NOT so", "no", "no"),
        ("I know", "other", "other"),  # "i kn"
        ("know", "no", "no"),  # within the first four letters
        (" yes", "yes", "yes"),
        ("  yes", "other", "yes"),  # lmms-eval drops the spaces first
        ("...yes", "other", "yes"),  # ... and full stops
        ("y", "other", "yes"),
        ("n", "other", "no"),
        ("", "other", "other"),
    ],
)
def test_yes_and_no_within_four_characters(said: str, official: str, lmms_eval: str) -> None:
    assert (parse_official(said), parse_lmms_eval(said)) == (official, lmms_eval)


def test_accuracy_and_accuracy_plus(tmp_path: Path) -> None:
    questions = read_questions("mme", made.mme(tmp_path, {"count": ["1.jpg", "2.jpg"], "code_reasoning": ["1.png"]}))
    answers = {one.id: "Yes" if one.gold[0] == "yes" else "No" for one in questions}
    full = score("mme", questions, answers).metrics
    assert (full["perception"], full["cognition"], full["categories"], full["other"]) == (200, 200, 2, 0)
    answers["count/1#2"] = "Maybe"  # one of four wrong, one of two pictures not whole: 75 + 50
    found = score("mme", questions, answers).metrics
    assert (found["accuracy/count"], found["accuracy_plus/count"], found["score/count"]) == (0.75, 0.5, 125)
    assert (found["perception"], found["cognition"], found["other"]) == (125, 200, 1)
    del answers["count/1#2"]
    assert score("mme", questions, answers).metrics == found | {"other": 0}


def test_the_eval_tools_files_are_read_and_written(tmp_path: Path) -> None:
    questions = read_questions("mme", made.mme(tmp_path / "data", {"artwork": ["1.jpg"], "OCR": ["0001.jpg"]}))
    BENCHMARKS["mme"].write(tmp_path / "results", questions, {"artwork/1#1": "Yes,\nit\tis"})
    lines = (tmp_path / "results" / "artwork.txt").read_text().split("\n")
    assert lines[0] == "1.jpg\tIs it 1? Please answer yes or no.\tYes\tYes, it is"
    assert lines[1] == "1.jpg\tIs it not  1?  Please answer yes or no.\tNo\t" and lines[2] == ""
    again = read_questions("mme", tmp_path / "results")
    assert [(one.id, one.prompt, one.gold) for one in again] == [(one.id, one.prompt, one.gold) for one in questions]


def test_llavas_ids_are_of_pictures_and_the_prompt_tells_the_question(tmp_path: Path) -> None:
    questions = read_questions("mme", made.mme(tmp_path, {"artwork": ["14.jpg"], "count": ["2.png"]}))
    rows = [
        {"question_id": "artwork/images/14.jpg", "prompt": f"Is it not 14?\n{SHORT}", "text": "No"},
        {"question_id": "artwork/images/14.jpg", "prompt": f"Is it 14?\n{SHORT}", "text": "Yes"},
        {"question_id": "count/2.png", "prompt": "<image>\nIs it 2? Please answer yes or no.", "text": "No"},
        {"question_id": "count/2#2", "text": "Yes"},  # ours need no prompt
    ]
    answers = read_answers(made.lines(tmp_path / "a.jsonl", rows), BENCHMARKS["mme"], questions)
    assert answers == {"artwork/14#1": "Yes", "artwork/14#2": "No", "count/2#1": "No", "count/2#2": "Yes"}
    made.lines(tmp_path / "a.jsonl", [rows[0] | {"prompt": "Is it blue?"}])
    with pytest.raises(UserError, match=r"a.jsonl, line 1, `question_id`: 'artwork/images/14.jpg' with this prompt is"):
        read_answers(tmp_path / "a.jsonl", BENCHMARKS["mme"], questions)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("Is it? Yes\n", r"1.txt, line 1: lacks `answer` behind a tab"),
        ("Is it?\tYes\nIs it not?\tperhaps\n", r"1.txt, line 2, `answer`: is 'perhaps', neither yes nor no"),
        ("Is it?\tYes\n", r"picture 1 has 1 questions, not 2"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: str, says: str) -> None:
    made.write(tmp_path / "count" / "1.txt", content)
    with pytest.raises(UserError, match=says):
        read_questions("mme", tmp_path)
    with pytest.raises(UserError, match="mme: has no splits"):
        read_questions("mme", tmp_path, "test")
    with pytest.raises(UserError, match="mme: .* holds no category; give MME_Benchmark_release_version"):
        read_questions("mme", tmp_path / "count")
