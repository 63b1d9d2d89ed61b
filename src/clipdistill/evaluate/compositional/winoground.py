"""Winoground (2022): two pictures, two captions of the same words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.evaluate.compositional.groups import Group, Matcher, Picture, need_pictures, read_json
from clipdistill.evaluate.results import Progress, Result

HOW = "accept the terms of facebook/winoground on the Hugging Face hub, then unpack its data/images.zip there"


def read_winoground(folder: str | Path, hard_tags: str | Path | None = None) -> list[Group]:
    """Read examples.jsonl and images/ of the official release.

    Args:
        folder: holds both.
        hard_tags: JSON of "Why is Winoground hard?" (2022): tag -> ids, or id -> tags. Also `why_hard.json` there.

    Raises:
        UserError: a file, a field or the pictures are missing.
    """
    folder = Path(folder)
    file = folder / "examples.jsonl"
    if not file.is_file():
        raise UserError(f"compositional: {file} is missing; {HOW}")
    images = need_pictures(folder / "images", HOW)
    beside = folder / "why_hard.json"
    hard = _hard(Path(hard_tags) if hard_tags else beside) if hard_tags or beside.is_file() else {}
    groups = []
    try:
        for line in filter(str.strip, file.read_text(encoding="utf-8").splitlines()):
            row = json.loads(line)
            preds = int(row["num_main_preds"])
            tags = (row["collapsed_tag"], f"{preds} main pred{'s' * (preds > 1)}", *hard.get(str(row["id"]), ()))
            pictures = tuple(_picture(images, str(row[f"image_{k}"])) for k in (0, 1))
            groups.append(Group(pictures, (row["caption_0"], row["caption_1"]), tags, str(row["id"])))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"compositional: {file}: a line has no valid {error}; {HOW}") from None
    return groups


def _picture(folder: Path, name: str) -> Picture:
    return Picture(str(folder / (name if Path(name).suffix else f"{name}.png")))


def _hard(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, values in read_json(path, "give a JSON of tag -> ids").items():
        for value in values:
            item, tag = (key, str(value)) if str(key).isdigit() else (str(value), key)
            found.setdefault(item, []).append(f"hard: {tag}")
    return found


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


def winoground(
    matcher: Matcher, folder: str | Path, progress: Progress | None = None, name: str = "winoground"
) -> Result:
    """Score Winoground; `metrics` has text, image, group; and each of these by tag as "text/Relation"."""
    groups = read_winoground(folder)
    scores = matcher.scores(groups, progress)
    metrics, counts = winoground_metrics(scores), {}
    for tag in sorted({tag for group in groups for tag in group.tags}):
        part = [s for s, group in zip(scores, groups, strict=True) if tag in group.tags]
        counts[tag] = len(part)
        metrics |= {f"{key}/{tag}": value for key, value in winoground_metrics(part).items()}
    return Result("winoground", name, len(groups), metrics, {"counts": counts})
