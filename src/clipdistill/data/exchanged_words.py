"""Texts that say something else of the same picture: words exchanged among themselves, or for others of their class.

The tags of a text keep their place, so that what a word says can be held against the region that it points to.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipdistill.data.caption_words import article, read_caption
from clipdistill.data.hard_negatives import pairs_of_a_kind
from clipdistill.data.tagged_text import Edit, Tag, TaggedText, edited

Classes = tuple[tuple[str, ...], ...]
SHARE = 0.3
"""Of the words of classes that are exchanged: few, so that colours alone don't tell what doesn't match."""


class Exchanged(NamedTuple):
    """A text with words exchanged, and tags on these words."""

    text: TaggedText
    words: tuple[Tag, ...]


_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)


def exchanged(text: TaggedText, classes: Classes, dice: np.random.Generator) -> Exchanged | None:
    """`text` with words exchanged, and which they are; None where there is nothing to exchange.

    With `classes`: each word (or words, such as "left of") of a class becomes, three times of ten, another of it; one
    at least does. Of two that begin at the same place the longer counts. Without any: two nouns, adjectives, verbs,
    adverbs or noun phrases of the text change places, as in hard negatives (`hard_negatives.pairs_of_a_kind`). "a" and
    "an" follow. That the text is then false of the picture isn't checked.
    """
    edits = _replaced(text.text, classes, dice) if classes else _swapped(text.text, dice)
    if not edits:
        return None
    # Where the changed words stand afterwards is told by tags on them, which edits move along.
    marks = tuple(Tag(edit.start, edit.end, 0) for edit in sorted(edits))
    every = [*edits, *_articles(text.text, edits)]
    return Exchanged(edited(text, every), edited(TaggedText(text.text, marks), every).tags)


def _replaced(text: str, classes: Classes, dice: np.random.Generator) -> list[Edit]:
    found = list(_pattern(classes).finditer(text))
    if not found:
        return []
    lots = dice.random(len(found))
    chosen = [one for one, lot in zip(found, lots, strict=True) if lot < SHARE] or [found[int(np.argmin(lots))]]
    edits = []
    for one in chosen:
        said = one.group().lower()
        others = [each for words in classes if said in words for each in words if each != said]
        edits.append(Edit(one.start(), one.end(), _like(one.group(), others[int(dice.integers(len(others)))])))
    return edits


@functools.lru_cache(maxsize=64)
def _pattern(classes: Classes) -> re.Pattern[str]:
    words = sorted({word for each in classes for word in each}, key=lambda word: (-len(word), word))
    return re.compile(r"(?<!\w)(?:" + "|".join(re.escape(word) for word in words) + r")(?!\w)", re.IGNORECASE)


def _swapped(text: str, dice: np.random.Generator) -> list[Edit]:
    reading = read_caption(text)
    starts = np.cumsum([0, *[len(part) for part in reading.parts]]).tolist()
    pairs = []
    for first, second in pairs_of_a_kind(reading):
        a, b = ((starts[span[0]], starts[span[1]]) for span in (first, second))
        if text[slice(*a)].lower() != text[slice(*b)].lower():
            pairs.append((a, b))
    if not pairs:
        return []
    a, b = pairs[int(dice.integers(len(pairs)))]
    said = text[slice(*a)], text[slice(*b)]
    return [Edit(*a, _like(said[0], said[1])), Edit(*b, said[0])]


def _like(old: str, new: str) -> str:
    """`new` with a capital where `old` has one."""
    return new[0].upper() + new[1:] if old[0].isupper() else new


def _articles(text: str, edits: Sequence[Edit]) -> list[Edit]:
    """ "a" before what begins with a vowel now becomes "an", and the other way round."""
    found = []
    for edit in edits:
        before = _ARTICLE.search(text[: edit.start])
        if before and article(edit.text) != before.group(1).lower():
            found.append(Edit(*before.span(1), _like(before.group(1), article(edit.text))))
    return found
