"""Boxes from COCO-format JSON: ground truth (instances) or a detector's output (results)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.sample import Regions
from clipdistill.data.sources.base import existing
from clipdistill.errors import UserError


def read_json(path: Path) -> Any:
    """The content of a JSON file, with or without a byte-order mark; UserError when it can't be read, or isn't JSON."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name the JSON file in it")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({str(error).splitlines()[0]})") from None


class Boxes:
    """Regions by file name or by COCO image id.

    A results file (a plain list of image_id, category_id, bbox, score) names neither files nor categories; names are
    taken from `categories`, or from the instances file beside it ("detections_val.json" -> "instances_val.json").
    """

    def __init__(self, path: str | Path, categories: str | Path | None = None) -> None:
        file = existing(path, "boxes file", "COCO instances or results JSON")
        content = read_json(file)
        named: Any = content
        if isinstance(content, list):
            beside = file.with_name("instances_" + file.name.partition("_")[2])
            if categories is not None:
                named = read_json(existing(categories, "categories file"))
            elif beside != file and beside.is_file():
                named = read_json(beside)
        annotations = content if isinstance(content, list) else content.get("annotations")
        if not isinstance(annotations, list):
            raise UserError(f"{file}: neither COCO instances (no 'annotations') nor results (not a list)")
        named = named if isinstance(named, Mapping) else {}
        self._names = {c["id"]: str(c["name"]) for c in named.get("categories", ())}
        self._image_ids = {str(i["file_name"]).rsplit("/", 1)[-1]: i["id"] for i in named.get("images", ())}
        self._found: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for annotation in annotations:
            if "bbox" in annotation and not annotation.get("iscrowd"):
                self._found[annotation["image_id"]].append(annotation)

    def of(self, file_name: str, image_ids: Iterable[Any] = ()) -> Regions:
        """Return the regions of one picture, perhaps none: by file name, else by the first id that is known."""
        keys = [self._image_ids.get(file_name.rsplit("/", 1)[-1]), *image_ids]
        key = next((key for key in keys if key is not None and key in self._found), None)
        found = self._found[key] if key is not None else []
        boxes = np.array([a["bbox"] for a in found], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]  # COCO writes x, y, width, height
        scores = np.array([a.get("score", 1.0) for a in found], dtype=np.float32)
        labels = tuple(self._names.get(a.get("category_id"), str(a.get("category_id"))) for a in found)
        return Regions(boxes, scores, labels)
