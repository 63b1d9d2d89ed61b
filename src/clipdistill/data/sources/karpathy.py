"""Karpathy's JSON (dataset_coco.json, dataset_flickr30k.json, ...): images with their sentences and a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipdistill.data.sources.annotations import Boxes, read_json, shown
from clipdistill.data.sources.base import Row, TableSource, clean_captions, existing, find_root, not_empty, unique_ids
from clipdistill.errors import UserError

GET = (
    "dataset_coco.json and dataset_flickr30k.json come in caption_datasets.zip from the page of "
    "'Deep Visual-Semantic Alignments for Generating Image Descriptions'; put the file beside its image folder"
)


def open_karpathy(
    path: str,
    *,
    name: str | None = None,
    split: str = "train",
    root: str | None = None,
    boxes: str | None = None,
    categories: str | None = None,
) -> TableSource:
    """Open a Karpathy JSON file.

    split: "train", "val", "test", "restval", or several joined by "+" ("train+restval" is COCO's usual training set).
    root: the folder that holds the pictures (with COCO's "filepath" folders or without); by default the file's own or
    "images" beside it. boxes: COCO instances or results JSON, which become `Sample.regions`; categories: instances
    JSON with the category names when `boxes` is a results file.

    Raises:
        UserError: no such file, split or picture folder, or nothing usable in it.
    """
    file = existing(path, "file", GET)
    content = read_json(file)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise UserError(f"{file}: not a Karpathy file (no list 'images' in it)")
    not_empty(images, file, (), "images")
    wanted = {part.strip() for part in str(split).split("+")}
    present = {str(image.get("split")) for image in images if isinstance(image, dict)}
    if not wanted <= present:
        missing = ", ".join(sorted(wanted - present))
        raise UserError(f"{file}: no split '{missing}'; it has {', '.join(sorted(present))}")
    regions = Boxes(boxes, categories) if boxes else None
    skipped: list[tuple[str, str]] = []
    rows = []
    for number, image in enumerate(images):
        if not isinstance(image, dict):
            skipped.append((f"image {number}", f"{shown(image)} isn't an object"))
            continue
        if str(image.get("split")) not in wanted:
            continue
        filename = image.get("filename")
        captions = clean_captions(image.get("sentences"))
        if not filename:
            skipped.append((f"image {number}", "no filename"))
        elif not captions:
            skipped.append((str(filename), "no caption that isn't empty"))
        else:
            row = Row(str(filename), _relative(image), captions)
            if regions is not None:
                row.regions = regions.of(row.id, (image.get("cocoid"), image.get("imgid")))
            rows.append(row)
    not_empty(rows, file, skipped, "usable images")
    for row, unique in zip(rows, unique_ids(row.id for row in rows), strict=True):
        row.id = unique
    roots = [existing(root, "folder")] if root else [file.parent]
    folders = [place for base in roots for place in (base, base / "images")]
    try:
        place = find_root(folders, [row.image for row in rows], file)
    except UserError:
        flat = [row.image.rsplit("/", 1)[-1] for row in rows]  # pictures in one folder, without "filepath"
        place = find_root(folders, flat, file)
        for row, image_name in zip(rows, flat, strict=True):
            row.image = image_name
    return TableSource(name or _name(file), place, rows, skipped)


def _relative(image: dict[str, Any]) -> str:
    folder = str(image.get("filepath") or "").strip("/")
    return f"{folder}/{image['filename']}" if folder else str(image["filename"])


def _name(file: Path) -> str:
    return file.stem.removeprefix("dataset_")
