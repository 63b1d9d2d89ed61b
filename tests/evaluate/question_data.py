"""Small VCR, SNLI-VE and VQA data about one-coloured pictures, in their official formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
OTHER = ["red", "green", "blue", "grey"]


def write_colours(folder: Path) -> None:
    """red.jpg, green.jpg, blue.jpg, and broken.jpg."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 20), colour).save(folder / f"{name}.jpg", quality=95)
    (folder / "broken.jpg").write_bytes(b"not a picture")


def vcr_item(number: int, picture: str, label: int | None, reason: int | None, question: str = "Why") -> dict[str, Any]:
    item = {
        "annot_id": f"val-{number}", "img_fn": f"{picture}.jpg", "metadata_fn": "one.json", "objects": ["person"],
        "question": [question, "is", [0], "here", "?"],
        "answer_choices": [[word, "wins", "."] for word in OTHER],
        "rationale_choices": [["all", word, "here", "."] for word in reversed(OTHER)],
        "answer_label": label, "rationale_label": reason,
    }  # fmt: skip
    return {key: value for key, value in item.items() if value is not None}


def write_vcr(root: Path, items: list[dict[str, Any]], name: str = "val.jsonl") -> Path:
    write_colours(root / "vcr1images")
    metadata = {"boxes": [[0, 0, 10, 10, 1.0]], "width": 20, "height": 20, "names": ["person"], "segms": [[]]}
    (root / "vcr1images" / "one.json").write_text(json.dumps(metadata))
    (root / name).write_text("".join(json.dumps(item) + "\n" for item in items))
    return root


def write_snli_ve(root: Path, pairs: list[tuple[str, str, str]], name: str = "snli_ve_dev.jsonl") -> Path:
    write_colours(root / "flickr30k-images")
    lines = [
        {"gold_label": label, "sentence1": "", "sentence2": text, "pairID": f"{k}", "Flikr30kID": f"{picture}.jpg"}
        for k, (picture, text, label) in enumerate(pairs)
    ]
    (root / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def write_vqa(root: Path, asked: list[tuple[str, list[str] | None]]) -> Path:
    """One question a picture; the questions of the val split, with annotations where answers are given."""
    root.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for number, picture in enumerate(dict.fromkeys(picture for picture, _ in asked)):
        (root / "val2014").mkdir(exist_ok=True)
        write_colours(root)
        numbers[picture] = number
        (root / f"{picture}.jpg").rename(root / "val2014" / f"COCO_val2014_{number:012d}.jpg")
    questions = [
        {"question_id": 100 + k, "image_id": numbers[picture], "question": "What colour is it?"}
        for k, (picture, _) in enumerate(asked)
    ]
    about = {"data_subtype": "val2014"}
    (root / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps({**about, "questions": questions}))
    annotations = [
        {
            "question_id": 100 + k, "image_id": numbers[picture], "answer_type": "other", "question_type": "what",
            "answers": [{"answer": one} for one in given], "multiple_choice_answer": given[0],
        }
        for k, (picture, given) in enumerate(asked) if given is not None
    ]  # fmt: skip
    if annotations:
        file = root / "v2_mscoco_val2014_annotations.json"
        file.write_text(json.dumps({**about, "annotations": annotations}))
    (root / "answers.txt").write_text("red\ngreen\nblue\ngrey\n")
    return root
