"""VCR's texts: lists of words and of object tags become plain text, and which of its characters name which region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

NAMES: tuple[str, ...] = (
    "Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry", "Jody", "Kendall", "Peyton", "Skyler",
    "Frankie", "Pat", "Quinn",
)  # fmt: skip
"""R2C's gender-neutral names, which stand for persons (it has one of them twice)."""

MASK = "[MASK]"
MASKED_TAG = 10_000
"""The adversarial sets of the VCR shortcut study write a masked tag t as t + 10000."""

_CLOSING = frozenset((".", ",", "?", "!", ";", ":", ")", "]", "}", "%", "...", "n't"))
_OPENING = frozenset(("(", "[", "{", "$", "#"))
_AFTER_APOSTROPHE = frozenset(("s", "t", "d", "m", "re", "ve", "ll"))


class Tag(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text name the object `region`."""

    start: int
    end: int
    region: int


class TaggedText(NamedTuple):
    """A text and its tags, in order. Both are plain values: JSON has words for them, so stores can be keyed by them."""

    text: str
    tags: tuple[Tag, ...] = ()


class Edit(NamedTuple):
    """Characters `start` to `end` (exclusive) become `text`."""

    start: int
    end: int
    text: str


def edited(text: TaggedText, edits: Sequence[Edit]) -> TaggedText:
    """`text` with edits that don't overlap. Tags keep their places: on changed characters, what stands there now."""
    written, last = "", 0
    moved: list[tuple[Edit, int, int]] = []
    for edit in sorted(edits):
        written += text.text[last : edit.start]
        moved.append((edit, len(written), len(written) + len(edit.text)))
        written, last = written + edit.text, edit.end

    def place(old: int, end: bool) -> int:
        shift = 0
        for edit, start, stop in moved:
            if old >= edit.end:
                shift = stop - edit.end
            if edit.start < old < edit.end or old == (edit.end if end else edit.start):
                return stop if end else start
        return old + shift

    tags = tuple(Tag(place(tag.start, False), place(tag.end, True), tag.region) for tag in text.tags)
    return TaggedText(written + text.text[last:], tags)


def check_tokens(tokens: Any, objects: int) -> str | None:
    """What is wrong with a tokenised text of a picture with that many objects; None when nothing is."""
    if not isinstance(tokens, list) or not tokens:
        return "isn't a list of words"
    for token in tokens:
        if isinstance(token, str):
            continue
        if not isinstance(token, list) or not token:
            return f"holds {token!r}, neither a word nor a list of object numbers"
        for tag in token:
            if isinstance(tag, bool) or not isinstance(tag, int):
                return f"holds the tag {tag!r}, which isn't a number"
            if not 0 <= (tag - MASKED_TAG if tag >= MASKED_TAG else tag) < objects:
                return f"names object {tag}, and the picture has {objects}"
    return None


def tagged_text(tokens: Sequence[str | Sequence[int]], objects: Sequence[str], join: str = "") -> TaggedText:
    """Turn VCR's tokens into text: `[[0], "is", "by", [1], "."]` -> "Casey is by car." with tags for 0 and 1.

    A tag becomes a word each: a person the gender-neutral name with the number of its object (modulo their 15), any
    other object its class name. R2C and VL-BERT leave groups unjoined ([0, 1] -> "Casey Riley"); with `join` "and"
    they read as VCR's own readme has it ("Casey and Riley"). Masked tags become "[MASK]" and name no region.

    Args:
        tokens: words and lists of object numbers, as `check_tokens` passes them.
        objects: class names of the picture's objects.
    """
    text = ""
    tags: list[Tag] = []
    before: str | None = None
    for word, region, after in _words(tokens, objects, join):
        if text and not _glued(before, word, after):
            text += " "
        if region is not None:
            tags.append(Tag(len(text), len(text) + len(word), region))
        text += word
        before = word
    return TaggedText(text, tuple(tags))


def _words(
    tokens: Sequence[str | Sequence[int]], objects: Sequence[str], join: str
) -> Iterator[tuple[str, int | None, str | None]]:
    """Each word, the object it names, and the word that follows it."""
    found: list[tuple[str, int | None]] = []
    for token in tokens:
        if isinstance(token, str):
            found.append((token, None))
            continue
        for place, tag in enumerate(token):
            if place and join:
                found.append((join if place == len(token) - 1 else ",", None))
            if tag >= MASKED_TAG:
                found.append((MASK, None))
            else:
                named = NAMES[tag % len(NAMES)] if objects[tag] == "person" else objects[tag]
                found.append((named, tag))
    following = [word for word, _ in found[1:]] + [None]
    for (word, region), after in zip(found, following, strict=True):
        yield word, region, after


def _glued(before: str | None, word: str, after: str | None) -> bool:
    """Whether `word` stands right behind `before`, without a space."""
    if word in _CLOSING or before in _OPENING or (word.startswith("'") and word[1:].lower() in _AFTER_APOSTROPHE):
        return True
    if word == "'":  # VCR writes "Casey ' s" for "Casey's"
        return after is not None and after.lower() in _AFTER_APOSTROPHE
    return before == "'" and word.lower() in _AFTER_APOSTROPHE
