"""LLaVA's JSON: a list of conversations, most of them about a picture.

`[{"id": ..., "image": "coco/train2017/000000000009.jpg", "conversations": [{"from": "human", "value": "<image>\\n..."},
{"from": "gpt", "value": ...}, ...]}, ...]`. A sample is a conversation, with the fields `conversation`, its texts in
turn (question, answer, question, answer, ...; without `<image>`), and `shown`, whether it is about a picture. Of one
without, the sample's picture is a black one that nobody is shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources.annotations import read_json
from clipdistill.data.sources.base import existing, not_empty, require_inside, unique_ids
from clipdistill.data.sources.questions import QuestionSource, Skipped
from clipdistill.errors import UserError

GET = "LLaVA's are blip_laion_cc_sbu_558k.json (first stage) and llava_v1_5_mix665k.json (second), on the hub"
IMAGE = "<image>"
SIDES = {"human": 0, "user": 0, "gpt": 1, "assistant": 1}
NO_PICTURE = ImageRef.from_array(np.zeros((16, 16, 3), np.uint8))
Record = tuple[tuple[str, ...], str]
"""Texts in turn; the picture, empty = none."""


def open_llava(
    path: str, *, name: str | None = None, root: str | None = None, subset: str | None = None
) -> LlavaSource:
    """Open a file of conversations.

    Left out, and named with the reason, is whatever can't be trained on: no conversation, an empty turn, a turn of
    nobody's or out of turn, a picture that isn't there, none where `<image>` stands or several. A first word of the
    answerer's, before any question, is dropped, as LLaVA does. `<image>` is taken out of its question: the picture
    comes before the first one, wherever it stood.

    root: the folder that pictures' paths are relative to; by default the file's own, or images or the folder beside it.
    subset: see `low_shot`.

    Raises:
        UserError: no such file or folder, not LLaVA's JSON, or nothing usable in it.
    """
    file = existing(path, "file", GET)
    content = read_json(file)
    if not isinstance(content, list):
        raise UserError(f"{file}: not LLaVA's JSON (a list of objects with `conversations`)")
    pictures = _Pictures(_root(root, file, content))
    skipped: Skipped = []
    ids, records = [], []
    for number, item in enumerate(content):
        found = _record(item, pictures)
        own = item.get("id") if isinstance(item, dict) else None
        label = f"item {number}" if own is None else str(own)
        if isinstance(found, str):
            skipped.append((label, found))
        else:
            ids.append(label)
            records.append(found)
    not_empty(records, file, skipped, "usable conversations")
    require_inside(pictures.root, (one[1] for one in records if one[1]), str(file))
    return LlavaSource(name or file.stem, list(unique_ids(ids)), records, skipped, pictures.root, subset)


class LlavaSource(QuestionSource):
    """Conversations."""

    def __init__(
        self, name: str, ids: Sequence[str], records: Sequence[Record], skipped: Skipped, root: Path, subset: str | None
    ) -> None:
        super().__init__(name, ids, skipped, subset=subset, pictures=[one[1] or "(none)" for one in records])
        self._names, self._records, self.root = ids, records, root

    def outline(self, row: int) -> tuple[tuple[str, ...], int | None, ImageRef]:
        """Its texts, for the fingerprint."""
        return self._records[row][0], None, self._image(row)

    def make(self, row: int) -> Sample:
        """From the record."""
        turns, picture = self._records[row]
        return Sample(self._names[row], self._image(row), fields={"conversation": turns, "shown": bool(picture)})

    def _image(self, row: int) -> ImageRef:
        picture = self._records[row][1]
        return ImageRef(os.path.join(self.root, picture)) if picture else NO_PICTURE


class _Pictures:
    """Whether pictures are there, by a look into each folder once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, _, file = path.rpartition("/")
        if folder not in self._folders:
            place = self.root / folder
            self._folders[folder] = set(os.listdir(place)) if place.is_dir() else set()
        return file in self._folders[folder]


def _root(root: str | None, file: Path, content: list[Any]) -> Path:
    if root:
        return existing(root, "folder")
    first = next((picture for item in content if isinstance(picture := _picture(item), str) and picture), "")
    places = [file.parent, file.parent / "images", file.parent.parent, file.parent.parent / "images"]
    return next((place for place in places if first and os.path.isfile(place / first)), file.parent)


def _picture(item: Any) -> str | list[Any]:
    found = item.get("image") if isinstance(item, dict) else None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, list) else str(found or "")


def _record(item: Any, pictures: _Pictures) -> Record | str:
    """A record, or what is wrong with the item."""
    if not isinstance(item, dict):
        return "not a JSON object"
    given = item.get("conversations")
    if not isinstance(given, list) or not given:
        return "no list 'conversations'"
    turns: list[str] = []
    for place, turn in enumerate(given, 1):
        side = SIDES.get(str(turn.get("from"))) if isinstance(turn, dict) else None
        text = turn.get("value") if isinstance(turn, dict) else None
        if side is None or not isinstance(text, str):
            return f"turn {place} isn't a text in 'value' of human or gpt in 'from'"
        if side == 1 and place == 1:
            continue
        if side != len(turns) % 2:
            return f"turn {place} is out of turn"
        turns.append(text)
    if not turns or len(turns) % 2:
        return "no answer to its last question" if turns else "no question"
    marks = sum(text.count(IMAGE) for text in turns[::2])
    if any(IMAGE in text for text in turns[1::2]):
        return f"{IMAGE} in an answer"
    picture = _picture(item)
    if isinstance(picture, list) or marks > 1:
        return f"{marks} {IMAGE} and {len(picture) if isinstance(picture, list) else 1} pictures, not one"
    if marks != bool(picture):
        return f"a picture, and no {IMAGE} in its questions" if picture else f"{IMAGE}, and no picture in 'image'"
    plain = tuple(text.replace(IMAGE, "").strip() for text in turns)
    # A question may be the picture alone.
    empty = [place for place, text in enumerate(plain) if not text and (place % 2 or not (marks and place == 0))]
    if empty:
        return f"turn {empty[0] + 1} is empty"
    if picture and picture not in pictures:
        return f"no picture {picture} in {pictures.root}"
    return tuple(sys.intern(text) for text in plain), sys.intern(picture)
