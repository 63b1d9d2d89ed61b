"""MMMU: multiple-choice and open questions of 30 subjects, from the hub's parquet files or the authors' JSON.

Source: Yue et al. 2024 and their mmmu/ folder (main_parse_and_eval.py, main_eval_only.py); lmms-eval's `mmmu_val`.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.evaluate.rows import Row, json_rows, jsonl_rows
from clipdistill.evaluate.vlm.base import (
    LETTER,
    LETTERS,
    SHORT,
    Answers,
    Benchmark,
    Metrics,
    Question,
    by_group,
    with_options,
)
from clipdistill.evaluate.vlm.mmmu_parsing import open_is_right, parse_letter
from clipdistill.files import write_json

NAME = "mmmu"
HOW = "give the hub's folder (SUBJECT/validation-*.parquet), one of its files, or JSON of such records"
GOLD = "answer_dict_val.json"
SEED = 42
"""Of the authors' code, whose draws go through the subjects in alphabetical order."""
DOMAINS = {
    "Art and Design": "Art Art_Theory Design Music",
    "Business": "Accounting Economics Finance Manage Marketing",
    "Science": "Biology Chemistry Geography Math Physics",
    "Health and Medicine": "Basic_Medical_Science Clinical_Medicine Diagnostics_and_Laboratory_Medicine Pharmacy "
    "Public_Health",
    "Humanities and Social Science": "History Literature Sociology Psychology",
    "Tech and Engineering": "Agriculture Architecture_and_Engineering Computer_Science Electronics Energy_and_Power "
    "Materials Mechanical_Engineering",
}
_DOMAIN = {subject: domain for domain, subjects in DOMAINS.items() for subject in subjects.split()}


def read_mmmu(path: str | Path, split: str | None = None) -> list[Question]:
    """Read questions, those of a folder by subject in alphabetical order, which is the order that random letters take.

    A folder holds the hub's parquet files of a split ("validation" unless said), or the authors' SUBJECT/output.json. A
    file is .parquet, .jsonl, or .json: a list of records, or the authors' answer_dict_val.json, which has neither
    questions nor options, so that letters are compared as they stand. That file also gives what records beside it lack.
    Groups: `subject`, `domain`, `form` (multiple-choice, open).

    Raises:
        UserError: a file or field is missing or wrong.
    """
    place = Path(path)
    files = [place]
    if place.is_dir():
        files = sorted(place.glob(f"**/{split or 'validation'}-*.parquet")) or sorted(place.glob("*/output.json"))
        files = files or [one for one in (place / GOLD,) if one.is_file()]
        if not files:
            raise UserError(f"{NAME}: {place} has no questions; {HOW}")
    folder = place if place.is_dir() else place.parent
    known: dict[str, Row] = {}
    if (folder / GOLD).is_file() and files != [folder / GOLD]:
        known = {_key(row): row for row in json_rows(folder / GOLD, HOW, NAME, keyed=True)}
    return [_question(row, known) for file in files for row in _records(file)]


def _records(file: Path) -> Iterator[Row]:
    if file.suffix == ".jsonl":
        return jsonl_rows(file, HOW, NAME)
    if file.suffix != ".parquet":
        return json_rows(file, HOW, NAME, keyed=True)
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            there = opened.schema_arrow.names
            wanted = [one for one in ("id", "question", "options", "answer", "question_type") if one in there]
            wanted += ["image_1.path"] if "image_1" in there else []  # without the pictures' bytes
            rows = opened.read(columns=wanted).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{NAME}: {file}: not a parquet file ({str(error).splitlines()[0]}); {HOW}") from None
    return (Row(file, f"row {number}", row, HOW, NAME) for number, row in enumerate(rows))


def _key(row: Row) -> str:
    return row.text("id") if "id" in row.values else row.place.removeprefix("row '").removesuffix("'")


def _question(row: Row, known: dict[str, Row]) -> Question:
    name, kind = _key(row), row.text("question_type")
    options = tuple(row.nested("index2ans").values.values()) if "index2ans" in row.values else _list(row, "options")
    at = next((one for one in ("answer", "ground_truth") if row.values.get(one) not in (None, "", "?")), None)
    gold = _list(row, at) if at else _list(known[name], "ground_truth") if name in known else ()
    form = "multiple-choice" if kind == "multiple-choice" else "open"
    if form == "multiple-choice" and options and gold and gold[0] not in LETTERS[: len(options)]:
        raise row.bad(at or "ground_truth", f"is '{gold[0]}', and there are {len(options)} options")
    subject = "_".join(name.split("_")[1:-1])
    groups = {"subject": subject, "domain": _DOMAIN.get(subject, ""), "form": form}
    image = row.values.get("image_1", row.values.get("image"))
    image = image.get("path") if isinstance(image, dict) else image
    prompt = str(row.values.get("prompt") or "")
    if not prompt and row.values.get("question"):
        asked = row.text("question")
        prompt = f"{with_options(asked, options, '({}) {}')}\n\n{LETTER}" if options else f"{asked}\n{SHORT}"
    return Question(name, prompt, gold, image if isinstance(image, str) else None, options, groups)


def _list(row: Row, field: str) -> tuple[str, ...]:
    """A list, or the text of one as the hub has it, or a single text."""
    value: Any = row.values.get(field)
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            if field == "options":
                raise row.bad(field, "isn't a list, nor the text of one") from None
    if value is None or value == "":
        return ()
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)


def score_mmmu(questions: Sequence[Question], answers: Answers, rule: str = "official") -> Metrics:
    """`accuracy` over all, and by form, domain and subject. `random_letters`: drawn where no letter was found.

    official: letters as `parse_letter` says; open questions are right where `open_is_right`. lmms_eval: its own search
    for letters, and every open question wrong: it compares with the characters of its first guess one by one. It draws
    letters without a seed; here they are the official ones.
    """
    draws = random.Random(SEED)
    scores, drawn = [], 0
    for question in questions:
        said = answers.get(question.id)
        if said is None:
            scores.append(False)
        elif question.groups["form"] == "open":
            scores.append(rule == "official" and open_is_right(said, question.gold))
        else:
            letter = parse_letter(said, question.options, rule) if question.options else said.strip()
            if not letter and question.options:
                letter, drawn = draws.choice(LETTERS[: len(question.options)]), drawn + 1
            scores.append(letter in question.gold)
    return by_group(questions, scores, ("form", "domain", "subject")) | {"random_letters": drawn}


def write_results(path: Path, questions: Sequence[Question], answers: Answers) -> None:
    """Write main_eval_only.py's JSON, id -> letter, or what was said to an open question.

    What no letter is found in stays as it was said, so that it is wrong rather than drawn; what is missing isn't there.
    """
    found = {}
    for one in questions:
        if one.id in answers:
            said = answers[one.id]
            found[one.id] = (parse_letter(said, one.options) or said) if one.options else said
    write_json(path, found)


MMMU = Benchmark(
    NAME,
    ("official", "lmms_eval"),
    HOW,
    read_mmmu,
    score_mmmu,
    write_results,
    {"accuracy": ("mmmu_val", "mmmu_acc")},
    splits=True,
)
