"""Winoground (2022): two pictures, two captions of the same words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.evaluate.compositional.groups import Group, Part, Picture
from clipdistill.evaluate.compositional.pictures import WHO, need_pictures
from clipdistill.evaluate.rows import Row, jsonl_rows, read_json

HOW = (
    "accept the terms of facebook/winoground on the Hugging Face hub, put its data/examples.jsonl there and unpack its "
    "data/images.zip to images/"
)
HARD = "new_tag_assignments.json"
HARD_HOW = f"take {HARD} of github.com/ajd12342/why-winoground-hard, or remove the file"


def read_winoground(folder: str | Path) -> list[Group]:
    """Read examples.jsonl and images/ of the official release, there or in `data/` as the hub has them.

    The tags are the collapsed tag, the number of main predicates, and those of "Why is Winoground hard?" (2022) when
    its new_tag_assignments.json lies beside examples.jsonl; items that it gives no tag are "hard: none".

    Raises:
        UserError: a file, a row's field or the pictures are missing or wrong.
    """
    folder = Path(folder)
    if not (folder / "examples.jsonl").is_file() and (folder / "data" / "examples.jsonl").is_file():
        folder = folder / "data"
    rows = list(jsonl_rows(folder / "examples.jsonl", HOW, WHO))
    images = need_pictures(folder / "images", HOW)
    hard = _hard(folder / HARD) if (folder / HARD).is_file() else None
    return [_group(row, images, hard) for row in rows]


def _group(row: Row, images: Path, hard: dict[str, tuple[str, ...]] | None) -> Group:
    number, preds = str(row.number("id")), row.number("num_main_preds")
    tags = [row.text("collapsed_tag"), f"{preds} main pred{'s' * (preds > 1)}"]
    if hard is not None:
        tags += hard.get(number) or ("hard: none",)
    pictures = []
    for field in ("image_0", "image_1"):
        name = row.text(field)
        file = images / (name if Path(name).suffix else f"{name}.png")
        pictures.append(Picture(str(file), where=row.where(field)))
    return Group(tuple(pictures), (row.text("caption_0"), row.text("caption_1")), tuple(tags), number)


def _hard(path: Path) -> dict[str, tuple[str, ...]]:
    """id -> tags, from the authors' JSON object of id -> list of tags."""
    content = read_json(path, HARD_HOW, WHO)
    if not isinstance(content, dict):
        raise UserError(f"compositional: {path} holds no JSON object of id -> list of tags; {HARD_HOW}")
    row = Row(path, "the object", content, HARD_HOW, WHO)
    return {key: tuple(f"hard: {tag}" for tag in row.texts(key, 0)) for key in content}


def winoground_metrics(scores: Sequence[Tensor]) -> dict[str, float]:
    """Return text, image and group score (strict: ties fail) of [2, 2] scores, rows = pictures.

    `text_argmax` and `image_argmax` are the share of single choices that argmax gets right, ties going to the first;
    chance is 1/2 there, 1/4 for the text and image scores.
    """
    totals = dict.fromkeys(("text", "image", "group", "text_argmax", "image_argmax"), 0.0)
    for s in scores:
        (a, b), (c, d) = s.tolist()
        text, image = a > b and d > c, a > c and d > b
        totals["text"] += text
        totals["image"] += image
        totals["group"] += text and image
        totals["text_argmax"] += ((a >= b) + (d > c)) / 2
        totals["image_argmax"] += ((a >= c) + (d > b)) / 2
    return {name: value / max(1, len(scores)) for name, value in totals.items()}


def measure_winoground(groups: Sequence[Group], scores: Sequence[Tensor]) -> tuple[dict[str, float], dict[str, Any]]:
    """`winoground_metrics` of all items, and of each tag's as "text/Relation"; how many items a tag has."""
    metrics, counts = winoground_metrics(scores), {}
    for tag in sorted({tag for group in groups for tag in group.tags}):
        part = [s for s, group in zip(scores, groups, strict=True) if tag in group.tags]
        counts[tag] = len(part)
        metrics |= {f"{key}/{tag}": value for key, value in winoground_metrics(part).items()}
    return metrics, {"counts": counts}


def winoground(folder: str | Path) -> list[Part]:
    """The one part of Winoground."""
    return [Part("winoground", "winoground", read_winoground(folder), HOW, measure_winoground)]
