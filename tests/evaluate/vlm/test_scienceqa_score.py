"""ScienceQA: LLaVA's prompt, what each rule takes for a letter, and the groups of the paper's table."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.evaluate.vlm import BENCHMARKS, read_questions, score
from clipdistill.evaluate.vlm.scienceqa import parse_choice
from tests.evaluate.vlm import vlm_files as made

LETTER = "Answer with the option's letter from the given choices directly."


def test_prompts_and_pictures_are_llavas(tmp_path: Path) -> None:
    problems = {"4": {}, "5": {"hint": "Look.", "image": "image.png"}}
    plain, seen = read_questions("scienceqa", made.scienceqa(tmp_path, problems))
    assert plain.prompt == f"Which one?\nA. one\nB. two\nC. three\n{LETTER}"
    assert seen.prompt == f"Context: Look.\nWhich one?\nA. one\nB. two\nC. three\n{LETTER}"
    assert (plain.image, seen.image, plain.gold) == (None, "5/image.png", ("B",))


@pytest.mark.parametrize(
    ("said", "tinyllava", "official", "lmms_eval"),
    [
        ("B", "B", "", "B"),
        ("b", "", "", "B"),  # lmms-eval ignores case
        ("B.", "", "", "B"),  # LLaVA wants a space behind the stop, and so three characters
        ("B. two", "B", "", "B"),
        ("B.two", "", "", "B"),
        ("(B)", "", "", ""),
        ("The answer is B.", "B", "B", ""),
        ("The answer is B", "", "", ""),  # the stop of the expression stands for one more character
        ("The answer is Because", "B", "B", ""),  # ... for any
        ("The answer is B. The answer is B.", "", "", ""),  # said twice is not found
        (" B", "", "", "B"),
        ("F", "", "", "F"),  # LLaVA knows five letters
        ("", "", "", ""),
    ],
)
def test_what_is_a_letter(said: str, tinyllava: str, official: str, lmms_eval: str) -> None:
    rules = ("tinyllava", "official", "lmms_eval")
    assert [parse_choice(said, rule) for rule in rules] == [tinyllava, official, lmms_eval]


def test_the_whole_split_the_image_subset_and_the_papers_groups(tmp_path: Path) -> None:
    problems = {
        "1": {"image": "image.png", "hint": "x", "grade": "grade7"},
        "2": {"image": "image.png", "subject": "social science"},
        "3": {"hint": "x", "grade": "grade12"},
        "4": {"subject": "language science"},
    }
    questions = read_questions("scienceqa", made.scienceqa(tmp_path, problems))
    found = score("scienceqa", questions, {"1": "B", "2": "C", "3": "The answer is B.", "4": "none"})
    assert found.metrics == {
        "accuracy": 0.5, "accuracy/language science": 0.0, "accuracy/natural science": 1.0,
        "accuracy/social science": 0.0, "accuracy/grades 1-6": 0.0, "accuracy/grades 7-12": 1.0,
        "accuracy/image": 0.5, "accuracy/text": 1.0, "accuracy/no context": 0.0,
    }  # fmt: skip


def test_the_authors_draw_where_nothing_is_found_and_that_is_counted(tmp_path: Path) -> None:
    questions = read_questions("scienceqa", made.scienceqa(tmp_path, {str(n): {} for n in range(40)}))
    answers = {str(n): "B" for n in range(39)}  # a bare letter isn't the authors' form; the last one is missing
    found = score("scienceqa", questions, answers, rule="official")
    draws = random.Random(10)
    drawn = [draws.choice(range(3)) for _ in range(39)]
    assert found.metrics["random_letters"] == 39
    assert found.metrics["accuracy"] == pytest.approx(drawn.count(1) / 40)
    assert found.artifacts["missing_ids"] == ["39"]
    assert score("scienceqa", questions, answers).metrics["accuracy"] == 39 / 40


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    made.scienceqa(tmp_path, {"1": {"answer": 3}})
    with pytest.raises(UserError, match=r"problems.json, the object, 1, `answer`: is 3, and there are 3 choices"):
        read_questions("scienceqa", tmp_path)
    with pytest.raises(UserError, match=r"`tset`: there is no such split; there are train, test. Did you mean 'test'"):
        read_questions("scienceqa", tmp_path, "tset")
    made.write(tmp_path / "pid_splits.json", {"test": ["9"]})
    with pytest.raises(UserError, match=r"problems.json, the object, `9`: is missing"):
        read_questions("scienceqa", tmp_path)


def test_results_are_what_the_authors_tool_reads(tmp_path: Path) -> None:
    questions = read_questions("scienceqa", made.scienceqa(tmp_path, {"1": {}, "2": {}}))
    BENCHMARKS["scienceqa"].write(tmp_path / "results.json", questions, {"1": "C. three"})
    assert json.loads((tmp_path / "results.json").read_text())["results"] == {"1": 2, "2": -1}
