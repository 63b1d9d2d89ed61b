"""MMMU: letters and open answers by each rule, random letters, and the forms its questions are published in."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from clipdistill.errors import UserError
from clipdistill.evaluate.vlm import BENCHMARKS, read_questions, score
from clipdistill.evaluate.vlm.mmmu_parsing import open_is_right, parse_letter, parse_open
from tests.evaluate.vlm import vlm_files as made

OPTIONS = ("red", "a red dog", "blue", "grey")


@pytest.mark.parametrize(
    ("said", "official", "lmms_eval"),
    [
        ("B", "B", "B"),
        ("(B)", "B", "B"),
        ("B.", "B", "B"),  # stops at the ends go first
        ("B. a red dog", "", "B"),  # "B." inside is lmms-eval's alone
        ("The answer is B", "B", "B"),
        ("(A) or rather (C)", "C", "C"),  # the last
        ("(A), not B", "A", "A"),  # brackets go before bare letters
        ("A is wrong, so C it is", "C", "C"),
        ("b", "", ""),
        ("USA today", "", "A"),  # a letter at the end of a word
        ("DNA and RNA", "", "A"),
        ("USA or NBC today", "", "A"),  # neither stands between spaces: the first of the alphabet
        ("USA or B today", "B", "B"),
        ("It looks like a Red dog here", "A", "A"),  # over five words; of two texts, the one that begins later
        ("a red dog", "", ""),  # three words
        ("I think the colour is grey", "D", "D"),
        ("", "", ""),
    ],
)
def test_letters(said: str, official: str, lmms_eval: str) -> None:
    assert (parse_letter(said, OPTIONS), parse_letter(said, OPTIONS, "lmms_eval")) == (official, lmms_eval)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("7", [7.0]),
        ("So the result is 3.14159.", [3.14]),  # the text is a number, rounded
        ("It is 5 so x", [" x", "x "]),  # the shortest text behind a word; a single letter with a space
        ("a = 4\nb = 1,234", [1234.0, 234.0]),  # "=" counts in the last line; behind a comma a number begins too
        ("it is 1\nno\nso 2", [1.0, 2.0]),  # a text of each line that has one
        ("It is big. So 3", [3.0]),  # lower case comes first, so a stop before a capital parts nothing
        ("2E3 and -7", ["2e3 and -7", 2000.0, 3.0, -7.0]),
        ("The answer is :", ["the answer is :"]),  # a mark alone is no text
        ("", [""]),
    ],
)
def test_open_answers(said: str, found: list[str | float]) -> None:
    assert sorted(map(repr, parse_open(said))) == sorted(map(repr, found))


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        ("0.2857", ["0.286"], True),  # both are 0.29
        ("The answer is 1,249 units", ["1249"], True),
        ("It is about Tampa, I believe", ["Tampa", "Florida"], True),  # a gold text within the answer
        ("Tam", ["Tampa"], False),
        ("catalysis", ["A"], False),  # a single letter needs a space beside it
        ("a", ["A"], True),
        ("24/7", ["24/7", "3.429"], True),
        ("12", ["1"], False),
    ],
)
def test_open_is_right(said: str, gold: list[str], right: bool) -> None:
    assert open_is_right(said, gold) is right


def test_scores_groups_and_random_letters_in_the_official_order(tmp_path: Path) -> None:
    rows = [{"id": f"validation_Math_{n}", "answer": "ABCD"[n % 4]} for n in range(12)]
    rows += [{"id": "validation_Music_1", "question_type": "open", "options": "[]", "answer": "['24/7', '3.429']"}]
    questions = read_questions("mmmu", made.mmmu(tmp_path / "val.jsonl", rows))
    assert questions[-1].gold == ("24/7", "3.429") and questions[-1].options == ()
    answers = {one.id: "no idea" for one in questions[:10]} | {
        "validation_Math_10": "(C)",
        "validation_Music_1": "3.43",
    }
    found = score("mmmu", questions, answers)
    draws = random.Random(42)  # as the authors' module: one stream, a draw where nothing is found
    lucky = sum(draws.choice("ABCD") == "ABCD"[n % 4] for n in range(10))
    assert found.metrics["random_letters"] == 10 and found.artifacts["missing"] == 1
    assert found.metrics["accuracy"] == pytest.approx((lucky + 2) / 13)
    assert found.metrics["accuracy/Math"] == found.metrics["accuracy/Science"] == pytest.approx((lucky + 1) / 12)
    assert found.metrics["accuracy/open"] == found.metrics["accuracy/Art and Design"] == 1
    assert score("mmmu", questions, answers).metrics == found.metrics
    # lmms-eval compares an open answer character by character, so none is right.
    assert score("mmmu", questions, answers, rule="lmms_eval").metrics["accuracy/open"] == 0


def test_parquet_of_the_hub_by_subject(tmp_path: Path) -> None:
    for subject in ("Music", "Art"):
        row = {"id": f"validation_{subject}_1", "question": "What is <image 1>?", "question_type": "multiple-choice"}
        row |= {"options": "['x', \"it's\"]", "answer": "B", "image_1": {"bytes": b"...", "path": f"{subject}.png"}}
        table = pyarrow.Table.from_pylist([row])
        (tmp_path / subject).mkdir()
        pyarrow.parquet.write_table(table, tmp_path / subject / "validation-00000-of-00001.parquet")
        pyarrow.parquet.write_table(table, tmp_path / subject / "dev-00000-of-00001.parquet")
    first, second = read_questions("mmmu", tmp_path)
    assert (first.id, second.id, first.image) == ("validation_Art_1", "validation_Music_1", "Art.png")
    letter = "Answer with the option's letter from the given choices directly."
    assert first.prompt == f"What is <image 1>?\n(A) x\n(B) it's\n\n{letter}"
    (tmp_path / "Art" / "validation-00000-of-00001.parquet").write_bytes(b"PAR1?")
    with pytest.raises(UserError, match=r"mmmu: .*Art/validation-00000-of-00001.parquet: not a parquet file"):
        read_questions("mmmu", tmp_path)


def test_the_authors_json_forms(tmp_path: Path) -> None:
    output = {"id": "validation_Math_1", "question_type": "multiple-choice", "answer": "B", "all_choices": ["A", "B"],
              "index2ans": {"A": "x", "B": "y"}, "response": "(B)"}  # fmt: skip
    made.write(tmp_path / "model" / "Math" / "output.json", [output])
    (one,) = read_questions("mmmu", tmp_path / "model")
    assert one.options == ("x", "y") and one.gold == ("B",)
    gold = {"validation_Math_1": {"question_type": "multiple-choice", "ground_truth": "B"},
            "validation_Math_2": {"question_type": "short-answer", "ground_truth": ["4", "four"]}}  # fmt: skip
    made.write(tmp_path / "answer_dict_val.json", gold)
    questions = read_questions("mmmu", tmp_path / "answer_dict_val.json")
    # Without options a letter is compared as it stands, as main_eval_only.py does; nothing is drawn.
    found = score("mmmu", questions, {"validation_Math_1": "(B)", "validation_Math_2": "It is four"}).metrics
    assert (found["accuracy"], found["random_letters"]) == (0.5, 0)
    # Records without an answer take it from the file beside them.
    file = made.mmmu(tmp_path / "asked.jsonl", [{"id": "validation_Math_1", "answer": ""}])
    assert read_questions("mmmu", file)[0].gold == ("B",)


def test_what_is_handed_in_and_files_that_cannot_be_used(tmp_path: Path) -> None:
    file = made.mmmu(tmp_path / "val.jsonl", [{"id": "validation_Math_1"}, {"id": "validation_Math_2"}])
    questions = read_questions("mmmu", file)
    BENCHMARKS["mmmu"].write(tmp_path / "out.json", questions, {"validation_Math_1": "It is (D)"})
    assert json.loads((tmp_path / "out.json").read_text()) == {"validation_Math_1": "D"}
    made.mmmu(file, [{"id": "validation_Math_1", "answer": "E"}])
    with pytest.raises(UserError, match=r"val.jsonl, line 1, `answer`: is 'E', and there are 4 options"):
        read_questions("mmmu", file)
    made.mmmu(file, [{"id": "validation_Math_1", "options": "[broken"}])
    with pytest.raises(UserError, match=r"line 1, `options`: isn't a list, nor the text of one"):
        read_questions("mmmu", file)
