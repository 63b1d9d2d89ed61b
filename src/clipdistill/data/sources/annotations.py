"""Boxes from COCO-format JSON: ground truth (instances) or a detector's output (results)."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.sample import Regions
from clipdistill.data.sources.base import existing
from clipdistill.errors import UserError

MOST_PIXELS = 2**24
"""Above any picture's, and what float32 still counts in ones."""


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
        kinds, images = (named[key] if isinstance(named.get(key), list) else [] for key in ("categories", "images"))
        self._names = {
            _field(c, "id", file, f"category {number}"): shown(c.get("name", c.get("id")))
            for number, c in enumerate(_objects(kinds, file, "categories"))
        }
        self._image_ids = {
            str(i.get("file_name")).rsplit("/", 1)[-1]: _field(i, "id", file, f"image {number}")
            for number, i in enumerate(_objects(images, file, "images"))
        }
        self._found: dict[Any, list[tuple[list[float], float, str]]] = defaultdict(list)
        for number, annotation in enumerate(_objects(annotations, file, "annotations")):
            if "bbox" in annotation and not annotation.get("iscrowd"):
                where = f"annotation {number}"
                box, score = annotation["bbox"], annotation.get("score", 1.0)
                if not (isinstance(box, list) and len(box) == 4 and all(map(_is_pixels, box)) and min(box[2:]) >= 0):
                    raise UserError(f"{file}: {where}: bbox {shown(box)} isn't [x, y, width, height] in numbers")
                if not _is_finite(score):
                    raise UserError(f"{file}: {where}: score {shown(score)} isn't a number")
                kind = annotation.get("category_id")
                label = self._names.get(kind, str(kind)) if is_id(kind) else shown(kind)
                self._found[_field(annotation, "image_id", file, where)].append((box, float(score), label))

    def of(self, file_name: str, image_ids: Iterable[Any] = ()) -> Regions:
        """Return the regions of one picture, perhaps none: by file name, else by the first id that is known."""
        keys = [self._image_ids.get(file_name.rsplit("/", 1)[-1]), *image_ids]
        key = next((key for key in keys if is_id(key) and key in self._found), None)
        found = self._found[key] if key is not None else []
        boxes = np.array([box for box, _, _ in found], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]  # COCO writes x, y, width, height
        scores = np.array([score for _, score, _ in found], dtype=np.float32)
        return Regions(boxes, scores, tuple(label for _, _, label in found))


def is_id(value: Any) -> bool:
    """Whether a value can name something: JSON has lists, null and fractions, too."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value of someone's file in a message, at most some 60 letters."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _objects(found: Sequence[Any], file: Path, what: str) -> Sequence[Mapping[str, Any]]:
    for number, one in enumerate(found):
        if not isinstance(one, Mapping):
            raise UserError(f"{file}: {what}[{number}] is {shown(one)}, not an object")
    return found


def _field(item: Mapping[str, Any], key: str, file: Path, where: str) -> Any:
    if not is_id(item.get(key)):
        raise UserError(f"{file}: {where}: {key} is {shown(item.get(key))}, not a number or a name")
    return item[key]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_pixels(value: Any) -> bool:
    return _is_finite(value) and abs(value) <= MOST_PIXELS
