"""Visual Commonsense Reasoning: train.jsonl, val.jsonl or test.jsonl, with the pictures and their metadata JSON.

A sample is a question. Its fields are plain values: `question` (text), `question_tags` (which characters name which
region), `choices` and `choice_tags` (four answers), `rationales` and `rationale_tags`, `answer_label` and
`rationale_label` (0 to 3), `question_types`. `Sample.regions` are the boxes, the object numbers of the tags.
"""

from __future__ import annotations

import json
import os
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.question_types import QuestionTypes, load_question_types
from clipdistill.data.sample import BadImage, ImageRef, Regions, Sample
from clipdistill.data.sources.base import existing, find_root, not_empty, require_inside, unique_ids
from clipdistill.data.sources.questions import QuestionSource, Skipped, json_lines, split_file
from clipdistill.data.tagged_text import check_tokens, tagged_text
from clipdistill.errors import nearest

GET = "VCR is given out at visualcommonsense.com: vcr1annots.zip (train.jsonl, ...) and vcr1images.zip, unpacked"
OPTIONS = 4
_KEYS = ("objects", "img_fn", "metadata_fn", "question", "answer_choices", "rationale_choices")


def open_vcr(
    path: str,
    *,
    name: str | None = None,
    split: str | None = None,
    root: str | None = None,
    question_types: str = "vcr",
    join: str = "",
    subset: str | None = None,
    unlabelled: bool = False,
) -> VcrSource:
    """Open a file of VCR's format, or with `split` ("train" unless said) one of a folder of them.

    Every metadata file is read once, here. Left out, and named with the reason, are questions whose picture or metadata
    is missing or broken, with a box outside of the picture, a tag outside of the objects, a label that isn't 0 to 3,
    other than four options, or a field missing.

    root: the folder that "img_fn" and "metadata_fn" are relative to; by default vcr1images beside the file or its
    folder, or one of these two. question_types: "vcr", "petri", or a YAML file of rules. join: word between the names
    of a group of tags, such as "and"; none = as the authors' models read them. subset, unlabelled: see `low_shot`.

    Raises:
        UserError: no such file, split or picture folder, or nothing usable in it.
    """
    file, title = split_file(path, split, "{}.jsonl", "train", GET)
    types = load_question_types(question_types)
    skipped: Skipped = []
    found = []
    for number, offset, item in json_lines(file, skipped):
        one = str(item.get("annot_id") or f"line {number}")
        wrong = check_item(item)
        if wrong:
            skipped.append((one, wrong))
        else:
            question = tagged_text(item["question"], item["objects"]).text
            objects = tuple(item["objects"])
            found.append((one, offset, item["img_fn"], item["metadata_fn"], objects, types.of(question)[0]))
    not_empty(found, file, skipped, "questions")
    folder = file.parent
    roots = [existing(root, "folder")] if root else [
        place for base in (folder, folder.parent) for place in (base / "vcr1images", base)
    ]  # fmt: skip
    place = find_root(roots, [each[2] for each in found], file)
    require_inside(place, (one for each in found for one in each[2:4]), str(file))
    regions: dict[str, Regions | str] = {}
    pictures: dict[str, bool] = {}
    rows = []
    for one, offset, image, metadata, objects, kind in found:
        if image not in pictures:
            pictures[image] = os.path.isfile(place / image)
        if metadata not in regions:
            regions[metadata] = read_regions(place / metadata, objects)
        known = regions[metadata]
        if not pictures[image]:
            skipped.append((one, f"no picture {image}"))
        elif isinstance(known, str):
            skipped.append((one, f"{metadata}: {known}"))
        elif known.labels != objects:
            differ = f"{len(objects)} objects" if len(known.labels) != len(objects) else "other 'objects'"
            skipped.append((one, f"{differ}, and {metadata} has {len(known.labels)} boxes"))
        else:
            rows.append((one, offset, image, known, kind))
    not_empty(rows, file, skipped, "usable questions")
    return VcrSource(
        name or f"vcr_{title}" + ("_unlabelled" if unlabelled else ""), file, place, rows, skipped, types, join,
        subset, unlabelled,
    )  # fmt: skip


class VcrSource(QuestionSource):
    """VCR's questions; the texts are read from the file when a sample is asked for."""

    LABELS = ("answer_label", "rationale_label")

    def __init__(
        self,
        name: str,
        file: Path,
        root: Path,
        rows: list[tuple[str, int, str, Regions, str]],
        skipped: Skipped,
        types: QuestionTypes,
        join: str,
        subset: str | None,
        unlabelled: bool,
    ) -> None:
        ids = unique_ids(row[0] for row in rows)
        strata = [row[4] for row in rows]
        super().__init__(
            name, ids, skipped, subset=subset, unlabelled=unlabelled, strata=strata, strata_names=types.names,
            pictures=_keys(rows),
        )  # fmt: skip
        self.file, self.root, self.types, self.join = file, root, types, join
        self._names = ids
        self._offsets = array("q", (row[1] for row in rows))
        self._images = [row[2] for row in rows]
        self._regions = [row[3] for row in rows]

    def outline(self, row: int) -> tuple[tuple[str, ...], int | None, ImageRef]:
        """No captions, no label."""
        return (), None, ImageRef(str(self.root / self._images[row]))

    def make(self, row: int) -> Sample:
        """Read the line of the question. Raises `BadImage` when the file has changed since it was opened."""
        try:
            with open(self.file, "rb") as handle:
                handle.seek(self._offsets[row])
                item = json.loads(handle.readline().removeprefix(b"\xef\xbb\xbf"))
        except (OSError, ValueError):
            raise BadImage(f"{self.file}: has changed while it was read") from None
        objects = item["objects"]
        question = tagged_text(item["question"], objects, self.join)
        choices = [tagged_text(tokens, objects, self.join) for tokens in item["answer_choices"]]
        rationales = [tagged_text(tokens, objects, self.join) for tokens in item["rationale_choices"]]
        fields: dict[str, Any] = {
            "question": question.text,
            "question_tags": question.tags,
            "choices": tuple(each.text for each in choices),
            "choice_tags": tuple(each.tags for each in choices),
            "rationales": tuple(each.text for each in rationales),
            "rationale_tags": tuple(each.tags for each in rationales),
            "question_types": self.types.of(question.text),
        }
        fields |= {label: item[label] for label in self.LABELS if item.get(label) is not None}
        image = ImageRef(str(self.root / self._images[row]))
        return Sample(self._names[row], image, regions=self._regions[row], fields=fields)


def _keys(rows: list[tuple[str, int, str, Regions, str]]) -> list[str]:
    """Of each picture its file's name; with boxes that aren't the first ones given for it, it counts as another."""
    first: dict[str, Regions] = {}
    others: dict[str, list[Regions]] = {}
    keys = []
    for _, _, image, regions, _ in rows:
        if first.setdefault(image, regions) is regions:
            keys.append(image)
            continue
        known = others.setdefault(image, [])
        if not any(one is regions for one in known):
            known.append(regions)
        number = next(place for place, one in enumerate(known) if one is regions)
        keys.append(f"{image}#boxes{number + 2}")
    return keys


def check_item(item: dict[str, Any]) -> str | None:
    """What is wrong with a line of the annotations; None when nothing is."""
    for key in _KEYS:
        if key not in item:
            return f"no '{key}'{_instead(key, item)}"
    objects = item["objects"]
    if not isinstance(objects, list) or not all(isinstance(one, str) for one in objects):
        return "'objects' isn't a list of class names"
    for key in ("img_fn", "metadata_fn"):
        if not isinstance(item[key], str) or not item[key]:
            return f"'{key}' isn't a file name"
    wrong = check_tokens(item["question"], len(objects))
    if wrong:
        return f"question {wrong}"
    for key, label in (("answer_choices", "answer_label"), ("rationale_choices", "rationale_label")):
        options = item[key]
        if not isinstance(options, list) or len(options) != OPTIONS:
            return f"{len(options) if isinstance(options, list) else 'no list of'} {key}, not {OPTIONS}"
        for number, tokens in enumerate(options):
            wrong = check_tokens(tokens, len(objects))
            if wrong:
                return f"{key} {number} {wrong}"
        given = item.get(label)  # the test file has none
        if given is not None and (isinstance(given, bool) or given not in range(OPTIONS)):
            return f"{label} {given!r} is none of 0 to {OPTIONS - 1}"
    return None


def read_regions(file: Path, objects: tuple[str, ...]) -> Regions | str:
    """The boxes of a metadata file ("boxes": x1 y1 x2 y2 score; "width", "height"), or what is wrong with it.

    Their class names are its "names", or `objects` where it has none.
    A box over the picture's edge is cut to it; one that lies outside, or has no area, is wrong.
    """
    try:
        content = json.loads(file.read_bytes().decode("utf-8-sig"))
        width, height, names = float(content["width"]), float(content["height"]), content.get("names", objects)
        boxes = np.array(content["boxes"], dtype=np.float64)
    except FileNotFoundError:
        return "no such file"
    except KeyError as error:
        return f"no {error}"
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return "not VCR's metadata"
    boxes = boxes.reshape(0, 5) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 5 or not np.isfinite(boxes).all():
        return "'boxes' aren't lists of x1, y1, x2, y2 and score"
    if not isinstance(names, list | tuple) or len(names) != len(boxes):
        return f"{len(boxes)} boxes and {len(names) if isinstance(names, list | tuple) else 'no list of'} names"
    cut = boxes[:, :4].clip(0, [width, height, width, height])
    empty = (cut[:, 2] <= cut[:, 0]) | (cut[:, 3] <= cut[:, 1])
    if empty.any():
        first = int(np.argmax(empty))
        corners = ", ".join(f"{value:g}" for value in boxes[first, :4])
        return f"box {first} ({corners}) lies outside of the {width:g} x {height:g} picture"
    return Regions(cut.astype(np.float32), boxes[:, 4].astype(np.float32), tuple(str(one) for one in names))


def _instead(key: str, item: dict[str, Any]) -> str:
    hint = nearest(key, [one for one in item if one not in _KEYS])
    return hint.replace("Did you mean", "Is it") if hint else ""
