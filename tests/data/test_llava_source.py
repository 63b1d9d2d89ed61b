"""LLaVA's JSON: conversations with a picture and without, and what is left out by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipdistill.data import Mixture, open_source
from clipdistill.data.sources.guess import guess_format
from clipdistill.errors import UserError


def talk(*texts: str, first: str = "human") -> list[dict[str, str]]:
    sides = ["human", "gpt"] if first == "human" else ["gpt", "human"]
    return [{"from": sides[place % 2], "value": text} for place, text in enumerate(texts)]


GOOD: list[dict[str, Any]] = [
    {
        "id": "000009",
        "image": "coco/a.png",
        "conversations": talk("<image>\nWhat?\nOne word.", "Cat", "Where?", "Here"),
    },
    {"id": "text", "conversations": talk("Who are you?", "Nobody")},
    {"id": "000009", "image": ["vg/b.png"], "conversations": talk("What is it?\n<image>", "Dog", "Why?", "So")},
    {"image": "coco/a.png", "conversations": talk("Hello!", "<image>", "A caption.", first="gpt")},
]
BAD: list[tuple[Any, str, str]] = [
    ("nothing", "item 4", "not a JSON object"),
    ({"id": "b1"}, "b1", "no list 'conversations'"),
    ({"id": "b2", "conversations": [{"from": "human", "value": 3}]}, "b2", "turn 1 isn't a text"),
    ({"id": "b3", "conversations": [{"from": "dog", "value": "wuff"}]}, "b3", "turn 1 isn't a text"),
    ({"id": "b4", "conversations": talk("a", "b") + talk("c", "d", first="gpt")}, "b4", "turn 3 is out of turn"),
    ({"id": "b5", "conversations": talk("a", "b", "c")}, "b5", "no answer to its last question"),
    ({"id": "b6", "conversations": talk("a", first="gpt")}, "b6", "no question"),
    ({"id": "b7", "conversations": talk("a", "<image>")}, "b7", "<image> in an answer"),
    (
        {"id": "b8", "image": "coco/a.png", "conversations": talk("<image><image>", "b")},
        "b8",
        "2 <image> and 1 pictures",
    ),
    (
        {"id": "b9", "image": ["coco/a.png"] * 2, "conversations": talk("<image>", "b")},
        "b9",
        "1 <image> and 2 pictures",
    ),
    ({"id": "c1", "image": "coco/a.png", "conversations": talk("a", "b")}, "c1", "a picture, and no <image>"),
    ({"id": "c2", "conversations": talk("<image>a", "b")}, "c2", "<image>, and no picture"),
    ({"id": "c3", "conversations": talk("a", "  ")}, "c3", "turn 2 is empty"),
    ({"id": "c4", "conversations": talk("", "b")}, "c4", "turn 1 is empty"),
    ({"id": "c5", "image": "coco/z.png", "conversations": talk("<image>", "b")}, "c5", "no picture coco/z.png"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("coco/a.png", "vg/b.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), "red" if "a" in name else "blue").save(tmp_path / "images" / name)
    place = tmp_path / "mix.json"
    place.write_text(json.dumps(GOOD + [item for item, _, _ in BAD]), encoding="utf-8")
    return place


def test_conversations_as_they_stand(file: Path) -> None:
    assert guess_format(file) == {"format": "llava", "path": str(file)}
    source = open_source({"format": "llava", "path": str(file)})
    assert (source.name, source.ids) == ("mix", ["000009", "text", "000009#2", "item 3"])
    turns = [sample.fields["conversation"] for sample in source]
    assert turns == [
        ("What?\nOne word.", "Cat", "Where?", "Here"), ("Who are you?", "Nobody"), ("What is it?", "Dog", "Why?", "So"),
        ("", "A caption."),
    ]  # fmt: skip
    assert [sample.fields["shown"] for sample in source] == [True, False, True, True]
    colours = [sample.image.open().getpixel((0, 0)) for sample in source]
    assert colours == [(255, 0, 0), (0, 0, 0), (0, 0, 255), (255, 0, 0)]
    ids = Mixture([(source, None)]).picture_ids
    assert ids[0] == ids[3] and len(set(ids)) == 3


def test_what_is_wrong_is_left_out_by_name(file: Path) -> None:
    skipped = open_source({"format": "llava", "path": str(file)}).skipped
    assert [one for one, _ in skipped] == [label for _, label, _ in BAD]
    for (_, why), (_, _, wanted) in zip(skipped, BAD, strict=True):
        assert wanted in why, (why, wanted)


def test_fingerprint_sees_a_word(file: Path) -> None:
    before = open_source(f"llava:{file}").fingerprint()
    assert open_source(f"llava:{file}").fingerprint() == before
    file.write_text(file.read_text(encoding="utf-8").replace("Nobody", "Somebody"), encoding="utf-8")
    assert open_source(f"llava:{file}").fingerprint() != before


def test_pictures_elsewhere_and_files_of_another_kind(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "text" / "mix.json"
    other.parent.mkdir()
    other.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    assert len(open_source({"format": "llava", "path": str(other), "root": str(tmp_path / "images")})) == 4
    other.write_text('{"conversations": []}', encoding="utf-8")
    with pytest.raises(UserError, match="not LLaVA's JSON"):
        open_source({"format": "llava", "path": str(other)})
    other.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(UserError, match="no usable conversations in it \\(2 left out, the first: item 0"):
        open_source({"format": "llava", "path": str(other)})
