"""POPE: three files of yes-no questions about objects; accuracy, precision, recall, F1 and the share of "yes".

Source: Li et al. 2023 and their evaluate.py; eval_pope.py of LLaVA and TinyLLaVA Factory; lmms-eval's `pope`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from clipdistill.errors import UserError
from clipdistill.evaluate.rows import jsonl_rows
from clipdistill.evaluate.vlm.base import SHORT, Answers, Benchmark, Metrics, Question, mean
from clipdistill.files import write_text

NAME = "pope"
CATEGORIES = ("random", "popular", "adversarial")
LLAVA = "llava_pope_test.jsonl"
HOW = f"give the folder of coco_pope_random.json, _popular and _adversarial (LLaVA's {LLAVA} in it or beside it)"


def read_pope(path: str | Path, split: str | None = None) -> list[Question]:
    """Read the categories that a folder holds, or one category's file (a JSON object a line).

    Ids are "random/1" and so on, for the three files count from 1 each. Where LLaVA's question file lies in the folder
    or beside it, its ids are taken, by picture and question, and questions that it hasn't are left out: its random ones
    are the 2,910 of the first release, not 3,000.

    split: one category; none = all that are there.

    Raises:
        UserError: a file or field is missing or wrong.
    """
    place = Path(path)
    files = sorted(place.glob("*pope_*.json")) if place.is_dir() else [place]
    named = {category: file for category in CATEGORIES for file in files if file.stem.endswith(f"_{category}")}
    if split is not None:
        named = {category: file for category, file in named.items() if category == split}
    if not named:
        raise UserError(f"{NAME}: {place} has no questions{f' of {split}' if split else ''}; {HOW}")
    ids = _llava_ids(place if place.is_dir() else place.parent)
    return [question for category, file in named.items() for question in _category(category, file, ids.get(category))]


def _category(category: str, file: Path, ids: dict[tuple[str, str], str] | None) -> list[Question]:
    found = []
    for row in jsonl_rows(file, HOW, NAME):
        image, text, label = row.text("image"), row.text("text").strip(), row.text("label").strip().lower()
        if label not in ("yes", "no"):
            raise row.bad("label", f"is '{label}', neither yes nor no")
        name = f"{category}/{row.number('question_id')}"
        if ids is not None:
            if (image, _spelt(text)) not in ids:
                continue
            name = ids[image, _spelt(text)]
        found.append(Question(name, f"{text}\n{SHORT}", (label,), image, groups={"category": category}))
    return found


def _spelt(question: str) -> str:
    """The first release, which LLaVA's file is of, has a misprint wherever it says "an"."""
    return question.replace("imange", "image")


def _llava_ids(folder: Path) -> dict[str, dict[tuple[str, str], str]]:
    """Category -> (picture, question) -> LLaVA's id."""
    file = next((one for one in (folder / LLAVA, folder.parent / LLAVA) if one.is_file()), None)
    found: dict[str, dict[tuple[str, str], str]] = {}
    for row in jsonl_rows(file, HOW, NAME) if file is not None else ():
        asked = row.text("image"), _spelt(row.text("text").split("\n")[0].strip())
        found.setdefault(row.text("category"), {})[asked] = str(row.get("question_id"))
    return found


def parse_official(said: str) -> str:
    """ "no" where the first sentence has the word "No", "no" or "not", commas left out; everything else is "yes".

    So "NO", an empty answer and "nope" are yes. Words are what single spaces part.
    """
    words = said.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def parse_lmms_eval(said: str) -> str:
    """The whole answer in lower case, spaces around it gone: right only if it is "yes" or "no" and nothing else."""
    return said.lower().strip()


def score_pope(questions: Sequence[Question], answers: Answers, rule: str = "official") -> Metrics:
    """The five measures, each also by category: `f1/random`.

    official: without a category, the mean over categories, as papers give F1; `yes_share` is of answers. lmms_eval:
    without a category, over all questions together; an answer that is neither yes nor no is wrong, but no false
    negative, and `yes_share` is of *gold* answers, as it computes it.
    """
    parse: Callable[[str], str] = parse_official if rule == "official" else parse_lmms_eval
    pairs: dict[str, list[tuple[str, str]]] = {}
    for question in questions:
        said = parse(answers[question.id]) if question.id in answers else ""
        pairs.setdefault(question.groups["category"], []).append((question.gold[0], said))
    parts = {category: _measures(some, rule) for category, some in pairs.items()}
    if rule == "official":
        whole = {name: mean(part[name] for part in parts.values()) for name in MEASURES}
    else:
        whole = _measures([pair for some in pairs.values() for pair in some], rule)
    return whole | {f"{name}/{category}": part[name] for category, part in parts.items() for name in MEASURES}


MEASURES = ("accuracy", "precision", "recall", "f1", "yes_share")
LMMS = {"f1": "f1_score", "yes_share": "yes_ratio"}


def _measures(pairs: Sequence[tuple[str, str]], rule: str) -> Metrics:
    hit = sum(gold == said == "yes" for gold, said in pairs)
    said_yes = sum(said == "yes" for _, said in pairs)
    # What is neither yes nor no (or missing) is a miss by the official rule, which knows no third answer.
    wanted = sum(gold == "yes" and (rule == "official" or said in ("yes", "no")) for gold, said in pairs)
    precision, recall = hit / said_yes if said_yes else 0.0, hit / wanted if wanted else 0.0
    return {
        "accuracy": mean(gold == said for gold, said in pairs),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if hit else 0.0,
        "yes_share": mean((gold if rule == "lmms_eval" else said) == "yes" for gold, said in pairs),
    }


def write_results(path: Path, questions: Sequence[Question], answers: Answers) -> None:
    """Write a folder of what evaluate.py reads, `CATEGORY.json`: a line of `question` and `answer` each."""
    lines: dict[str, list[str]] = {}
    for one in questions:
        row = {"question": one.prompt.split("\n")[0], "answer": answers.get(one.id, "")}
        lines.setdefault(one.groups["category"], []).append(json.dumps(row, ensure_ascii=False) + "\n")
    for category, some in lines.items():
        write_text(path / f"{category}.json", "".join(some))


POPE = Benchmark(
    NAME,
    ("official", "lmms_eval"),
    HOW,
    read_pope,
    score_pope,
    write_results,
    {name: ("pope", f"pope_{LMMS.get(name, name)}") for name in MEASURES},
    splits=True,
)
