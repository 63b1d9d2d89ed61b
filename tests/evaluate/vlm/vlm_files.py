"""Question files of the benchmarks of vision-language models as their releases lay them out, written by the tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def lines(path: Path, rows: Sequence[Any]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def vqa(folder: Path, gold: dict[int, list[str]], split: str = "val2014", types: Sequence[str] = ()) -> Path:
    """Questions of `gold`, each about its own picture, with annotations."""
    asked = [{"question_id": n, "image_id": n // 1000, "question": f"What is {n}?"} for n in gold]
    given = [
        {"question_id": n, "image_id": n // 1000, "answer_type": kind, "question_type": "what is",
         "answers": [{"answer": one, "answer_id": k, "answer_confidence": "yes"} for k, one in enumerate(people, 1)]}
        for (n, people), kind in zip(gold.items(), types or ["other"] * len(gold), strict=True)
    ]  # fmt: skip
    write(folder / f"v2_OpenEnded_mscoco_{split}_questions.json", {"data_subtype": split, "questions": asked})
    if "test" not in split:
        write(folder / f"v2_mscoco_{split}_annotations.json", {"data_subtype": split, "annotations": given})
    return folder


def textvqa(folder: Path, rows: Sequence[tuple[int, str, str, list[str]]]) -> Path:
    data = [
        {"question_id": n, "image_id": image, "question": question, "answers": gold, "set_name": "val"}
        for n, image, question, gold in rows
    ]
    file = write(folder / "TextVQA_0.5.1_val.json", {"dataset_name": "textvqa", "data": data})
    tokens = [{"image_id": image, "ocr_tokens": [image, "EXIT"]} for image in {row[1] for row in rows}]
    write(folder / "TextVQA_Rosetta_OCR_v0.2_val.json", {"data": tokens})
    return file


def gqa(folder: Path, rows: dict[str, tuple[str, str, str]]) -> Path:
    """id -> (answer, structural type, semantic type)."""
    content = {
        number: {"imageId": f"n{number}", "question": "Is it overcast?", "answer": answer, "isBalanced": True,
                 "types": {"structural": structural, "semantic": semantic, "detailed": "existAttrNotC"}}
        for number, (answer, structural, semantic) in rows.items()
    }  # fmt: skip
    return write(folder / "testdev_balanced_questions.json", content)


def scienceqa(folder: Path, problems: dict[str, dict[str, Any]], split: str = "test") -> Path:
    whole = {"question": "Which one?", "choices": ["one", "two", "three"], "answer": 1, "hint": "", "image": None,
             "subject": "natural science", "grade": "grade2"}  # fmt: skip
    write(folder / "problems.json", {name: whole | given for name, given in problems.items()})
    write(folder / "pid_splits.json", {"train": [], split: list(problems)})
    return folder


def pope(folder: Path, labels: dict[str, str]) -> Path:
    """category -> a letter a question, y or n; ids count from 1 in each file, as in the release."""
    for category, letters in labels.items():
        rows = [
            {"question_id": n, "image": f"COCO_val2014_{n:012d}.jpg", "text": f"Is there a {category} in the image?",
             "label": {"y": "yes", "n": "no"}[letter]}
            for n, letter in enumerate(letters, 1)
        ]  # fmt: skip
        lines(folder / f"coco_pope_{category}.json", rows)
    return folder


def mme(folder: Path, pictures: dict[str, list[str]], apart: Sequence[str] = ("artwork",)) -> Path:
    """category -> pictures, each with a question that is right and one that isn't; those `apart` in two folders."""
    for category, names in pictures.items():
        base = folder / category
        texts, images = (base / "questions_answers_YN", base / "images") if category in apart else (base, base)
        for name in names:
            stem = Path(name).stem
            asked = [
                f"Is it {stem}? Please answer yes or no.\tYes",
                f"Is it not  {stem}?  Please answer yes or no.\tNo",
            ]
            write(texts / f"{stem}.txt", "\n".join(asked) + "\n\n")
            write(images / name, "not decoded here")
    return folder


def mmmu(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Records as in the hub's parquet files; options are the text of a list there."""
    whole = {"question": "What is <image 1>?", "options": "['red', 'green', 'blue', 'grey']", "answer": "A",
             "question_type": "multiple-choice", "explanation": "", "subfield": "x"}  # fmt: skip
    return lines(file, [whole | row for row in rows])
