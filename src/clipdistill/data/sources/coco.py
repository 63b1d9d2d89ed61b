"""COCO-format captions JSON (captions_train2017.json and all that copy it), with its folder of images."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from clipdistill.data.sources.annotations import Boxes, is_id, read_json, shown
from clipdistill.data.sources.base import Row, TableSource, clean_captions, existing, find_root, not_empty, unique_ids
from clipdistill.errors import UserError

GET = "annotations_trainval2017.zip and the pictures (train2017.zip, val2017.zip) are on the COCO site's download page"


def open_coco(
    path: str,
    *,
    name: str | None = None,
    root: str | None = None,
    boxes: str | None = None,
    categories: str | None = None,
) -> TableSource:
    """Open a COCO captions file.

    root: the image folder; by default looked for beside the file and beside its folder (..., ../images, ../val2017 for
    captions_val2017.json). boxes: COCO instances or results JSON, which become `Sample.regions`; categories: instances
    JSON with the category names when `boxes` is a results file.

    Raises:
        UserError: no such file or picture folder, not captions, or nothing usable in it.
    """
    file = existing(path, "file", GET)
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"{file}: not a COCO file (no list 'images' in it)")
    if not isinstance(content.get("annotations"), list):
        raise UserError(f"{file}: no 'annotations' in it; image-info files of test splits have no captions")
    skipped: list[tuple[str, str]] = []
    captions: dict[Any, list[str]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"]):
        whose = annotation.get("image_id") if isinstance(annotation, dict) else annotation
        if is_id(whose) and isinstance(annotation, dict):
            captions[whose].extend(clean_captions(annotation.get("caption")))
        else:
            skipped.append((f"annotation {number}", f"no image has the id {shown(whose)}"))
    annotations = [one for one in content["annotations"] if isinstance(one, dict)]
    if annotations and not any("caption" in annotation for annotation in annotations):
        raise UserError(f"{file}: its annotations have no 'caption'; give the captions_*.json file and this as 'boxes'")
    regions = Boxes(boxes, categories) if boxes else None
    rows = []
    for number, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not is_id(image.get("id")):
            skipped.append((f"image {number}", "no id, or not an object"))
            continue
        file_name = str(image.get("file_name") or "").replace("\\", "/")
        if not file_name:
            skipped.append((f"image {number}", "no file_name"))
        elif not captions[image.get("id")]:
            skipped.append((file_name, "no caption that isn't empty"))
        else:
            row = Row(file_name, file_name, tuple(captions[image["id"]]))
            if regions is not None:
                row.regions = regions.of(file_name, (image["id"],))
            rows.append(row)
    not_empty(rows, file, skipped, "usable images")
    for row, unique in zip(rows, unique_ids(row.id for row in rows), strict=True):
        row.id = unique
    split = file.stem.rpartition("_")[2]
    beside = [
        place / folder
        for place in (file.parent, file.parent.parent)
        for folder in (".", "images", split, f"images/{split}")
    ]
    roots = [existing(root, "folder")] if root else beside
    return TableSource(name or file.stem, find_root(roots, [row.image for row in rows], file), rows, skipped)
