"""Writers of small data sets of questions in their official formats, for the tests beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_files import write_pictures

SAMPLE: dict[str, Any] = {
    "objects": ["person", "person", "person", "car"],
    "img_fn": "movie/shot@0.png",
    "metadata_fn": "movie/shot@0.json",
    "question": ["Does", [2], "feel", "comfortable", "?"],
    "answer_choices": [
        ["Yes", "because", "the", "person", "sitting", "next", "to", "her", "is", "smiling", "."],
        ["No", "she", "does", "not", "."],
        ["Yes", ",", "she", "is", "wearing", "something", "with", "thin", "straps", "."],
        ["Yes", ",", "she", "is", "cold", "."],
    ],
    "answer_label": 1,
    "rationale_choices": [
        ["There", "is", "snow", "on", "the", "ground", ",", "and", "she", "is", "wearing", "a", "coat", "."],
        ["She", "is", "standing", "with", "her", "arms", "crossed", "and", "looks", "disturbed", "."],
        ["She", "is", "sitting", "very", "rigidly", "and", "tensely", "on", "the", "edge", "of", "the", "bed", "."],
        [[2], "is", "laying", "in", "bed", "but", "not", "sleeping", ".", "she", "looks", "sad", "."],
    ],
    "rationale_label": 1,
    "annot_id": "train-0",
}
"""The tokens, tags and labels of the record that R2C's loader shows, on a picture of ours."""

METADATA: dict[str, Any] = {
    "boxes": [[0, 0, 5, 9, 0.9], [2, 1, 6, 9, 0.8], [5, 0, 11, 10, 0.99], [8.5, 4, 13, 10, 0.7]],
    "segms": [[], [], [], []],
    "names": ["person", "person", "person", "car"],
    "width": 12,
    "height": 10,
}


def vcr_item(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {**SAMPLE, "annot_id": f"train-{number}", **changes}


def write_lines(path: Path, lines: list[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines), "utf-8")
    return str(path)


def write_vcr(root: Path, items: list[Any], name: str = "train.jsonl", **metadata: Any) -> str:
    write_pictures(root / "vcr1images", ["movie/shot@0.png"])
    (root / "vcr1images/movie/shot@0.json").write_text(json.dumps({**METADATA, **metadata}))
    return write_lines(root / name, items)


def pair(number: int, label: str = "entailment", **changes: Any) -> dict[str, Any]:
    item = {
        "gold_label": label, "sentence1": "Two dogs run.", "sentence2": f"Dogs, number {number}.",
        "pairID": f"{number}.jpg#0r1e", "captionID": "1.jpg#0", "Flikr30kID": "1.jpg", "annotator_labels": [label] * 5,
    }  # fmt: skip
    return {**item, **changes}


def write_snli_ve(root: Path, lines: list[Any], name: str = "snli_ve_train.jsonl") -> str:
    write_pictures(root / "flickr30k-images", ["1.jpg", "2.jpg"])
    return write_lines(root / name, lines)


def annotation(number: int, answers: list[str], image: int = 9) -> dict[str, Any]:
    given = [{"answer": one, "answer_confidence": "yes", "answer_id": k + 1} for k, one in enumerate(answers)]
    most = max(answers, key=answers.count) if answers else ""
    return {
        "question_id": number, "image_id": image, "answers": given, "multiple_choice_answer": most,
        "question_type": "what", "answer_type": "other",
    }  # fmt: skip


def write_vqa(root: Path, questions: list[Any], annotations: list[Any] | None, split: str = "train2014") -> Path:
    """Pictures 9 and 10 of COCO's names, in a folder of the split's name."""
    write_pictures(root / split, [f"COCO_{split}_{number:012d}.jpg" for number in (9, 10)])
    about = {"data_subtype": split, "data_type": "mscoco", "task_type": "Open-Ended"}
    (root / f"v2_OpenEnded_mscoco_{split}_questions.json").write_text(json.dumps({**about, "questions": questions}))
    if annotations is not None:
        content = json.dumps({**about, "annotations": annotations})
        (root / f"v2_mscoco_{split}_annotations.json").write_text(content)
    return root


def question(number: int, text: str = "What is this?", image: Any = 9) -> dict[str, Any]:
    return {"question_id": number, "image_id": image, "question": text}


def write_easy_vqa(root: Path, rows: list[Any], answers: str = "red\nblue\nyes\n") -> Path:
    for split in ("train", "test"):
        write_pictures(root / split / "images", ["0.png", "1.png"])
        (root / split / "questions.json").write_text(json.dumps(rows))
    (root / "answers.txt").write_text(answers)
    return root
