"""VCR records written as sentences: `[0]` and `[0,1]` are tags, all else are words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.evaluate.question_data import write_colours

OBJECTS = ["person", "person", "person", "dog", "traffic light"]


def tokens(text: str) -> list[Any]:
    return [json.loads(word) if word.startswith("[") and word != "[MASK]" else word for word in text.split()]


def text(option: list[Any]) -> str:
    return " ".join(one if isinstance(one, str) else json.dumps(one).replace(" ", "") for one in option)


def record(question: str, answers: list[str], right: int = 0, rationales: list[str] | None = None, **more: Any) -> dict:
    """Four answers, and rationales that no rule touches unless they are given; the same one is right."""
    return {
        "annot_id": "val-0", "img_fn": "red.jpg", "metadata_fn": "one.json", "objects": OBJECTS,
        "question": tokens(question), "answer_choices": [tokens(one) for one in answers], "answer_label": right,
        "rationale_choices": [tokens(one) for one in rationales or ["so it is ."] * 4], "rationale_label": right,
        **more,
    }  # fmt: skip


def answers(item: dict[str, Any]) -> list[str]:
    return [text(option) for option in item["answer_choices"]]


def write_vcr(folder: Path, items: list[Any], name: str = "val.jsonl") -> Path:
    """With pictures and the boxes of `OBJECTS`."""
    write_colours(folder / "vcr1images")
    boxes = [[k, k, k + 10, k + 10, 1.0] for k in range(len(OBJECTS))]
    metadata = {"boxes": boxes, "width": 20, "height": 20, "names": OBJECTS, "segms": [[]] * len(OBJECTS)}
    (folder / "vcr1images" / "one.json").write_text(json.dumps(metadata))
    file = folder / name
    file.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in items))
    return file
