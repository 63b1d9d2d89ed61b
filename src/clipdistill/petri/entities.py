"""Captions whose phrases point to boxes, as Flickr30k Entities has them: marked phrases, and boxes in XML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from clipdistill.petri.render import boxes
from clipdistill.petri.vocabulary import PATTERNS, SIZES
from clipdistill.petri.writers import Picture

_BEFORE = rf"(?:an? )?(?:(?:{'|'.join(SIZES)}) )?(?:(?:{'|'.join(PATTERNS)}) )?"


def write_entities(folder: Path, split: str, pictures: Iterable[Picture], size: int) -> None:
    """Write Sentences/NUMBER.txt, Annotations/NUMBER.xml and {split}.txt, a picture a line.

    Every phrase that names a thing by colour and shape is marked: [/EN#17/star a large red star]. A thing's number is
    one of its own among all pictures; its type is its shape. Boxes are the true ones, in whole pixels.
    """
    names = []
    for place in ("Sentences", "Annotations"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        name = Path(picture.file_name).stem
        lines = "".join(f"{marked(text, picture)}\n" for text in picture.captions)
        (folder / "Sentences" / f"{name}.txt").write_text(lines, encoding="utf-8")
        (folder / "Annotations" / f"{name}.xml").write_text(_annotation(picture, size), encoding="utf-8")
        names.append(name)
    (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def marked(caption: str, picture: Picture) -> str:
    """The caption with its phrases marked."""
    for place, thing in enumerate(picture.scene.things):
        named = rf"\b{_BEFORE}{thing.colour} {thing.shape}\b"
        caption = re.sub(named, rf"[/EN#{_number(picture, place)}/{thing.shape} \g<0>]", caption)
    return caption


def _number(picture: Picture, place: int) -> int:
    return picture.number * 8 + place + 1


def _annotation(picture: Picture, size: int) -> str:
    objects = "".join(
        f"<object><name>{_number(picture, place)}</name><bndbox><xmin>{round(x0)}</xmin><ymin>{round(y0)}</ymin>"
        f"<xmax>{round(x1)}</xmax><ymax>{round(y1)}</ymax></bndbox></object>"
        for place, (x0, y0, x1, y1) in enumerate(boxes(picture.scene, size).tolist())
    )
    return (
        f"<annotation><filename>{escape(picture.file_name)}</filename><size><width>{size}</width>"
        f"<height>{size}</height><depth>3</depth></size>{objects}</annotation>\n"
    )
