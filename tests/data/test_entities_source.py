"""Flickr30k Entities: marks become tags, boxes regions, and what is broken is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_files import write_pictures

from clipdistill.data import open_source
from clipdistill.data.sources.entities import read_sentence
from clipdistill.data.tagged_text import Tag, TaggedText
from clipdistill.errors import UserError

SENTENCE = "[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] look at [/EN#0/notvisual something] ."


def written(folder: Path, boxes: dict[str, Any] | None = None, split: str = "train") -> Path:
    """Two pictures: one with the boxes, `two` with a box of no area."""
    write_pictures(folder / "flickr30k-images", ["1.jpg", "two.jpg"])
    entities = folder / "entities"
    for one, given in (("1", boxes or {"1": (1, 2, 5, 6), "2": (0, 0, 3, 4)}), ("two", {"1": (4, 4, 4, 9)})):
        for place in ("Sentences", "Annotations"):
            (entities / place).mkdir(parents=True, exist_ok=True)
        (entities / "Sentences" / f"{one}.txt").write_text(f"{SENTENCE}\nNobody .\n\n")
        things = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            "</bndbox></object>"
            for name, (x0, y0, x1, y1) in given.items()
        )
        things += "<object><name>9</name><scene>1</scene><nobndbox>1</nobndbox></object>"
        (entities / "Annotations" / f"{one}.xml").write_text(
            f"<annotation><filename>{one}.jpg</filename>{things}</annotation>"
        )
    (entities / f"{split}.txt").write_text("1\ntwo\ngone\n")
    return entities


def test_marks_become_tags() -> None:
    kinds: dict[str, str] = {}
    found = read_sentence(SENTENCE, {"1": 4, "2": 0}, kinds)
    assert found.text == "Two young guys with shaggy hair look at something ."
    assert [(found.text[tag.start : tag.end], tag.region) for tag in found.tags] == [
        ("Two young guys", 4),
        ("shaggy hair", 0),
    ]
    assert kinds == {"1": "people", "2": "bodyparts"}
    heads = read_sentence(SENTENCE, {"1": 4}, {}, points="head")
    assert heads == TaggedText(found.text, (Tag(10, 14, 4),))  # 2 has no box
    named = read_sentence(SENTENCE, {"1": 4, "2": 0}, {}, points="name")
    assert named.text == "Avery, Two young guys, with Casey, shaggy hair, look at something ."
    assert [(named.text[tag.start : tag.end], tag.region) for tag in named.tags] == [("Avery", 4), ("Casey", 0)]
    assert (
        read_sentence("[/EN#1/people He], [/EN#1/people he] .", {"1": 1}, {}, "name").text == "Riley, He, Riley, he ."
    )
    assert read_sentence("[/EN#5/clothing/people A suit]", {"5": 1}, kinds).text == "A suit"
    assert kinds["5"] == "clothing"


def test_pictures_with_captions_that_point(tmp_path: Path) -> None:
    source = open_source(f"{written(tmp_path)}@train")
    assert source.ids == ["1"]
    sample = source[0]
    assert sample.captions == ("Two young guys with shaggy hair look at something .", "Nobody .")
    assert sample.regions is not None and sample.regions.labels == ("people", "bodyparts")
    assert sample.regions.boxes.tolist() == [[1, 2, 5, 6], [0, 0, 3, 4]]
    tags = sample.fields["caption_tags"]
    assert [tag.region for tag in tags[0]] == [0, 1] and tags[1] == ()
    assert sample.image.open().size == (12, 10)
    reasons = dict(source.skipped)
    assert reasons["two"] == "two.xml: box (4, 4, 4, 9) has no area" and "can't be read" in reasons["gone"]


def test_mistakes_are_named(tmp_path: Path) -> None:
    folder = written(tmp_path)
    with pytest.raises(UserError, match="its splits are train"):
        open_source({"format": "flickr30k_entities", "path": str(folder), "split": "val"})
    with pytest.raises(UserError, match="`points` is one of phrase, head, name, nothing, not 'words'"):
        open_source({"format": "flickr30k_entities", "path": str(folder), "points": "words"})
    (folder / "train.txt").write_text("gone\n")
    with pytest.raises(UserError, match="no usable pictures in it"):
        open_source({"format": "flickr30k_entities", "path": str(folder)})
