"""ScienceQA: problems.json and pid_splits.json, the whole test split and its questions with a picture.

Source: Lu et al. 2022 and their tools/evaluate_acc.py and models/run_gpt3.py; eval_science_qa.py of LLaVA and TinyLLaVA
Factory; lmms-eval's `scienceqa` and `scienceqa_img`.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

from clipdistill.errors import nearest
from clipdistill.evaluate.rows import Row, read_json
from clipdistill.evaluate.vlm.base import (
    LETTER,
    LETTERS,
    Answers,
    Benchmark,
    Metrics,
    Question,
    by_group,
    mean,
    with_options,
)
from clipdistill.files import write_text

NAME = "scienceqa"
HOW = "give the folder of problems.json and pid_splits.json (ScienceQA's data/scienceqa)"
SEED = 10
"""Of run_gpt3.py, whose draws can't be had again: it draws examples from the same stream."""
# The stop stands for any character, in the authors' expression and in LLaVA's: "The answer is B" alone isn't found.
_SENTENCE = re.compile(r"The answer is ([A-Z]).")


def read_scienceqa(path: str | Path, split: str | None = None) -> list[Question]:
    """Read the problems of a split ("test" unless said), with LLaVA's prompt (its llava_test_CQM-A.json).

    Groups: `subject`, `grade` (1 to 6, 7 to 12), `context` (text, image, both, none).

    Raises:
        UserError: a file, the split or a field is missing or wrong.
    """
    folder, split = Path(path), split or "test"
    splits = Row(folder / "pid_splits.json", "the object", read_json(folder / "pid_splits.json", HOW, NAME), HOW, NAME)
    if split not in splits.values:
        raise splits.bad(
            split, f"there is no such split; there are {', '.join(splits.values)}.{nearest(split, splits.values)}"
        )
    file = folder / "problems.json"
    problems = Row(file, "the object", read_json(file, HOW, NAME), HOW, NAME)
    return [_question(name, problems.nested(name)) for name in splits.texts(split, 1)]


def _question(name: str, row: Row) -> Question:
    options = row.texts("choices", 2)
    hint, picture = (str(row.values.get(field) or "") for field in ("hint", "image"))
    right = row.number("answer")
    if not 0 <= right < len(options):
        raise row.bad("answer", f"is {right}, and there are {len(options)} choices")
    context = f"Context: {hint}\n" if hint else ""
    groups = {
        "subject": str(row.values.get("subject") or ""),
        "context": {(0, 0): "none", (1, 0): "text", (0, 1): "image", (1, 1): "both"}[bool(hint), bool(picture)],
    }
    if (grade := str(row.values.get("grade") or "").removeprefix("grade")).isdigit():
        groups["grade"] = "grades 1-6" if int(grade) <= 6 else "grades 7-12"
    prompt = f"{context}{with_options(row.text('question'), options)}\n{LETTER}"
    return Question(name, prompt, (LETTERS[right],), f"{name}/{picture}" if picture else None, options, groups)


def parse_choice(said: str, rule: str) -> str:
    """The letter of an answer; empty where none is found.

    tinyllava (and LLaVA): a bare letter, "B. ..." with something behind it, or one "The answer is B.". official: that
    sentence alone. lmms_eval: a bare letter, small or capital, or "B." with anything behind it.
    """
    if rule == "lmms_eval":
        said = said.strip()
        if len(said) == 1:
            return said.upper()
        return said[0] if said[1:2] == "." and said[0].isupper() else ""
    if rule == "tinyllava":
        if said in tuple("ABCDE"):
            return said
        if said[:1] in tuple("ABCDE") and said[1:3] == ". ":
            return said[0]
    found: list[str] = _SENTENCE.findall(said)
    return found[0] if len(found) == 1 else ""


def score_scienceqa(questions: Sequence[Question], answers: Answers, rule: str = "tinyllava") -> Metrics:
    """`accuracy` over all, `accuracy/image` over those with a picture; by subject, context and grade as in the paper.

    What no letter is found in is wrong, except for `official`: there a choice is drawn, and `random_letters` counts it.
    """
    draws = random.Random(SEED)
    scores, drawn = [], 0
    for question in questions:
        letters = LETTERS[: len(question.options)]
        letter = parse_choice(answers[question.id], rule) if question.id in answers else ""
        if rule == "official" and question.id in answers and (not letter or letter not in letters):
            letter, drawn = draws.choice(letters), drawn + 1
        scores.append(float(letter == question.gold[0]))
    found = by_group(questions, scores, ("subject", "grade"))
    contexts = {"image": ("image", "both"), "text": ("text", "both"), "no context": ("none",)}
    for name, among in contexts.items():
        part = [score for one, score in zip(questions, scores, strict=True) if one.groups["context"] in among]
        if part:
            found[f"accuracy/{name}"] = mean(part)
    return found | ({"random_letters": drawn} if rule == "official" else {})


def write_results(path: Path, questions: Sequence[Question], answers: Answers) -> None:
    """Write what evaluate_acc.py reads, `results`: id -> number of the choice, -1 where none is found."""
    letters = {one.id: parse_choice(answers.get(one.id, ""), "tinyllava") for one in questions}
    results = {one: LETTERS.index(letter) if letter else -1 for one, letter in letters.items()}
    outputs = {one.id: answers.get(one.id, "") for one in questions}
    write_text(path, json.dumps({"results": results, "outputs": outputs}, ensure_ascii=False) + "\n")


SCIENCEQA = Benchmark(
    NAME,
    ("tinyllava", "official", "lmms_eval"),
    HOW,
    read_scienceqa,
    score_scienceqa,
    write_results,
    {"accuracy": ("scienceqa", "exact_match"), "accuracy/image": ("scienceqa_img", "exact_match")},
    splits=True,
)
