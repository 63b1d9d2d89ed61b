"""The official formats of questions: VCR's jsonl and metadata, SNLI-VE's jsonl, VQA v2's questions and annotations.

Pictures are those of the world, DIR/images; nothing but text is written. The test splits keep their labels, which the
official ones hide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.petri.choices import Token, choices
from clipdistill.petri.dialogues import balanced_questions, write_llava
from clipdistill.petri.entailment import hypotheses
from clipdistill.petri.questions import Asked, answer_words, given_answers, questions
from clipdistill.petri.render import boxes
from clipdistill.petri.scenes import Scene, SceneRules, Thing
from clipdistill.petri.shapes import outline
from clipdistill.petri.writers import Picture

PERSON = "person"
_SNLI_VE_SPLITS = {"train": "train", "val": "dev", "test": "test"}


def write_questions(
    target: Path,
    formats: Sequence[str],
    rules: SceneRules,
    split: str,
    pictures: Sequence[Picture],
    size: int,
    shortcut: tuple[float, float],
) -> None:
    """Write those of vcr/, snli_ve/, vqa/ and llava/ that `formats` ask for, for the pictures of a split."""
    if "vcr" in formats:
        write_vcr(target / "vcr", rules, split, pictures, size, shortcut)
    if "vcr_reversed" in formats and split != "train":
        write_vcr(target / "vcr", rules, split, pictures, size, shortcut[::-1], f"{split}_reversed")
    if "snli_ve" in formats:
        write_snli_ve(target / "snli_ve", rules, split, pictures)
    if "vqa" in formats:
        write_vqa(target / "vqa", rules, split, [(one, questions(rules, one.scene)) for one in pictures])
    if "llava" in formats:
        asked = balanced_questions(rules, pictures)
        write_llava(target / "llava", split, asked)
        if split != "train":
            write_vqa(target / "llava", rules, split, asked)


def write_vcr(
    folder: Path, rules: SceneRules, split: str, pictures: Sequence[Picture], size: int, shortcut: tuple[float, float],
    title: str | None = None,
) -> None:  # fmt: skip
    """Write {title or split}.jsonl and metadata/NUMBER.json; file names are relative to the world, its root.

    Every thing is a person, in the scene's order; boxes and outlines are the true ones.
    """
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    for picture_number, picture in enumerate(pictures):
        metadata = f"{folder.name}/metadata/{picture.number:06d}.json"
        (folder.parent / metadata).write_text(_compact(_metadata(picture.scene, size)), encoding="utf-8")
        for number, choice in enumerate(choices(rules, picture.scene, shortcut)):
            lines.append(
                {
                    "movie": "petri",
                    "objects": [PERSON] * len(picture.scene.things),
                    "interesting_scores": [0],
                    "answer_likelihood": "likely",
                    "img_fn": f"images/{picture.file_name}",
                    "metadata_fn": metadata,
                    "question_orig": _original(choice.question),
                    "answer_orig": _original(choice.answers[choice.answer]),
                    "rationale_orig": _original(choice.rationales[choice.rationale]),
                    "question": choice.question,
                    "answer_choices": choice.answers,
                    "answer_label": choice.answer,
                    "rationale_choices": choice.rationales,
                    "rationale_label": choice.rationale,
                    "img_id": f"{split}-{picture_number}",
                    "question_number": number,
                    "annot_id": f"{split}-{len(lines)}",
                    "match_fold": f"{split}-0",
                    "match_index": len(lines),
                }
            )
    _write_lines(folder / f"{title or split}.jsonl", lines)


def write_snli_ve(folder: Path, rules: SceneRules, split: str, pictures: Iterable[Picture]) -> None:
    """Write snli_ve_{train,dev,test}.jsonl, without the parses: a pair of each class for each picture."""
    lines = []
    for picture in pictures:
        for label, hypothesis in hypotheses(rules, picture.scene):
            lines.append(
                {
                    "annotator_labels": [label] * 5,
                    "captionID": f"{picture.file_name}#0",
                    "gold_label": label,
                    "pairID": f"{picture.file_name}#0r1{label[0]}",
                    "sentence1": picture.captions[0],
                    "sentence2": hypothesis,
                    "Flikr30kID": picture.file_name,
                }
            )
    _write_lines(folder / f"snli_ve_{_SNLI_VE_SPLITS[split]}.jsonl", lines)


def write_vqa(folder: Path, rules: SceneRules, split: str, pictures: Iterable[tuple[Picture, Sequence[Asked]]]) -> None:
    """Write v2_OpenEnded_petri_{split}_questions.json, v2_petri_{split}_annotations.json and answers.txt."""
    asked, annotated = [], []
    for picture, its_questions in pictures:
        for number, question in enumerate(its_questions):
            head: dict[str, Any] = {"image_id": picture.number, "question_id": picture.number * 100 + number}
            asked.append({**head, "question": question.text})
            given = given_answers(picture.scene, question)
            answers = [{"answer": one, "answer_confidence": "yes", "answer_id": k} for k, one in enumerate(given, 1)]
            kind = "yes/no" if question.kind == "presence" else "number" if question.kind == "count" else "other"
            most = max(question.answers, key=given.count)
            annotated.append(
                {
                    **head,
                    "question_type": question.kind,
                    "multiple_choice_answer": most,
                    "answers": answers,
                    "answer_type": kind,
                }
            )
    about: dict[str, Any] = {"info": {"description": "clipdistill petri world", "version": "1.0"}, "license": {}}
    about |= {"data_type": "petri", "data_subtype": split}
    folder.mkdir(parents=True, exist_ok=True)
    content = {**about, "task_type": "Open-Ended", "questions": asked}
    (folder / f"v2_OpenEnded_petri_{split}_questions.json").write_text(_compact(content), encoding="utf-8")
    content = {**about, "annotations": annotated}
    (folder / f"v2_petri_{split}_annotations.json").write_text(_compact(content), encoding="utf-8")
    (folder / "answers.txt").write_text("".join(f"{word}\n" for word in answer_words(rules)), encoding="utf-8")


def _metadata(scene: Scene, size: int) -> dict[str, Any]:
    found = boxes(scene, size)
    return {
        "boxes": [[*(round(float(value), 2) for value in box), 1.0] for box in found],
        "segms": [[_polygon(thing, size)] for thing in scene.things],
        "names": [PERSON] * len(scene.things),
        "width": size,
        "height": size,
    }


def _polygon(thing: Thing, size: int) -> list[list[int]]:
    """The thing's outline as 36 points in whole pixels, as cv2's contours are."""
    c, s = math.cos(thing.angle), math.sin(thing.angle)
    points = outline(thing.shape)[::20] @ np.array([[c, s], [-s, c]]) * thing.radius + (thing.x, thing.y)
    return [[int(x), int(y)] for x, y in np.clip(points * size, 0, size - 1).round()]


def _original(tokens: Sequence[Token]) -> str:
    """As people wrote it, with objects counted from 1."""
    return " ".join(token if isinstance(token, str) else ", ".join(str(tag + 1) for tag in token) for token in tokens)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(_compact(line) for line in lines), encoding="utf-8")
