"""Flickr30k Entities: captions whose phrases point to boxes. Sentences/ID.txt, Annotations/ID.xml, and lists of ids.

A sample is a picture. Its captions are the sentences without their marks, `fields["caption_tags"]` says for each
caption which of its characters name which region, and `Sample.regions` are the boxes, by the type of what they show.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args
from xml.etree import ElementTree

import numpy as np

from clipdistill.data.sample import Regions
from clipdistill.data.sources.base import Row, TableSource, existing, find_root, not_empty
from clipdistill.data.tagged_text import NAMES, Tag, TaggedText
from clipdistill.errors import UserError

GET = (
    "Flickr30k Entities lies at github.com/BryanPlummer/flickr30k_entities: unpack annotations.zip there, and put the "
    "pictures of Flickr30k into flickr30k-images"
)
_MARK = re.compile(r"\[/EN#(\d+)((?:/[^\s\]/]+)+)\s+([^\]]*)\]")
NOT_SHOWN = "notvisual"
Points = Literal["phrase", "head", "name", "nothing"]


def open_entities(
    path: str, *, name: str | None = None, split: str = "train", root: str | None = None,
    points: Points = "phrase",
) -> TableSource:  # fmt: skip
    """Open a folder of Flickr30k Entities.

    Left out, and named with the reason, are pictures whose sentences or boxes are missing or broken.

    split: SPLIT.txt in the folder lists the pictures' ids. root: the folder of the pictures; by default
    flickr30k-images or images in the folder or beside it. points: which words of a phrase point to its box: all of
    them ("phrase"), the last one ("head"), or a name that is put before it ("name": "Casey, a man, sits"; the names
    are those of VCR's persons, by the box's number, so that the texts point as VCR's do), or none ("nothing": what is
    meant has to be found). Of a phrase with several boxes the first counts.

    Raises:
        UserError: no such folder, split or picture folder, or nothing usable in it.
    """
    folder = existing(path, "folder", GET)
    if points not in get_args(Points):
        there = ", ".join(get_args(Points))
        raise UserError(f"data format 'flickr30k_entities': `points` is one of {there}, not {points!r}")
    listed = existing(folder / f"{split}.txt", "file", f"its splits are {_splits(folder)}")
    skipped: list[tuple[str, str]] = []
    rows = []
    for one in listed.read_text(encoding="utf-8").split():
        read = _read(folder, one, points)
        if isinstance(read, str):
            skipped.append((one, read))
        else:
            rows.append(read)
    not_empty(rows, listed, skipped, "usable pictures")
    names = ("flickr30k-images", "images", "")
    roots = [existing(root, "folder")] if root else [base / one for base in (folder, folder.parent) for one in names]
    place = find_root(roots, [row.image for row in rows], listed)
    return TableSource(name or f"entities_{split}_{points}", place, rows, skipped)


def _splits(folder: Path) -> str:
    return ", ".join(sorted(one.stem for one in folder.glob("*.txt"))) or "not there"


def _read(folder: Path, one: str, points: Points) -> Row | str:
    """A picture's row, or what is wrong with it."""
    sentences, boxes = folder / "Sentences" / f"{one}.txt", folder / "Annotations" / f"{one}.xml"
    try:
        lines = [line.strip() for line in sentences.read_text(encoding="utf-8").splitlines() if line.strip()]
        tree = ElementTree.fromstring(boxes.read_bytes())
    except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
        return f"can't be read ({error})"
    found = _boxes(tree)
    if isinstance(found, str):
        return f"{boxes.name}: {found}"
    if not lines:
        return f"{sentences.name} has no sentence"
    kinds: dict[str, str] = {}
    first = {entity: place for place, (entity, _) in reversed(list(enumerate(found)))}
    texts = [read_sentence(line, first, kinds, points) for line in lines]
    labels = tuple(kinds.get(entity, "") for entity, _ in found)
    table = np.array([box for _, box in found], np.float32).reshape(-1, 4)
    regions = Regions(table, np.ones(len(table), np.float32), labels)
    image = tree.findtext("filename") or f"{one}.jpg"
    fields = {"caption_tags": tuple(text.tags for text in texts)}
    return Row(one, image, tuple(text.text for text in texts), regions=regions, fields=fields)


def _boxes(tree: ElementTree.Element) -> list[tuple[str, tuple[float, ...]]] | str:
    """(entity's number, box) of each box, one that shows several entities once for each; or what is wrong."""
    found = []
    for thing in tree.iter("object"):
        corners = thing.find("bndbox")
        if corners is None:
            continue  # a scene, or what can't be boxed
        try:
            box = tuple(float(corners.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError:
            return "a box lacks a side"
        if not (box[0] < box[2] and box[1] < box[3] and min(box) >= 0):
            return f"box ({', '.join(f'{side:g}' for side in box)}) has no area"
        found += [(each.text or "", box) for each in thing.iter("name")]
    return found


def read_sentence(line: str, boxes: dict[str, int], kinds: dict[str, str], points: Points = "phrase") -> TaggedText:
    """A sentence without its marks: "[/EN#7/people A man] sits ." -> "A man sits ." with a tag for what 7 shows.

    boxes: an entity's number -> its region. kinds: is filled, an entity's number -> its (first) type. points: see
    `open_entities`.
    """
    text, last = "", 0
    tags: list[Tag] = []
    for mark in _MARK.finditer(line):
        text += line[last : mark.start()]
        entity, kind, phrase = mark.group(1), mark.group(2).split("/")[1], mark.group(3).strip()
        last = mark.end()
        if kind != NOT_SHOWN:
            kinds.setdefault(entity, kind)
        region = boxes.get(entity) if kind != NOT_SHOWN and points != "nothing" else None
        if region is None:
            text += phrase
            continue
        start = len(text)
        if points == "name":
            name = NAMES[region % len(NAMES)]
            tags.append(Tag(start, start + len(name), region))
            goes_on = line[last:].strip() not in ("", ".") and not line[last:].lstrip().startswith(",")
            text += f"{name}, {phrase}" + "," * goes_on
        else:
            tags.append(Tag(start + (phrase.rfind(" ") + 1 if points == "head" else 0), start + len(phrase), region))
            text += phrase
    return TaggedText(text + line[last:], tuple(tags))
