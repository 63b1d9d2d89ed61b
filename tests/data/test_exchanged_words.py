"""Texts whose words are exchanged: what changes, where tags go, and what can't be exchanged."""

from __future__ import annotations

import numpy as np
import pytest

from clipdistill.data.exchanged_words import exchanged
from clipdistill.data.tagged_text import Edit, Tag, TaggedText, edited

COLOURS = (("red", "orange", "blue"),)
SIDES = (("left of", "right of"), ("left", "right"))


def dice(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def said_at(text: TaggedText) -> list[tuple[str, int]]:
    return [(text.text[tag.start : tag.end], tag.region) for tag in text.tags]


def test_edits_move_tags() -> None:
    """By hand: "a red star, Casey" with "red" -> "orange", "a" -> "an"; tags on "red star" and on Casey."""
    text = TaggedText("a red star, Casey", (Tag(2, 10, 0), Tag(12, 17, 1)))
    found = edited(text, [Edit(2, 5, "orange"), Edit(0, 1, "an")])
    assert found == TaggedText("an orange star, Casey", (Tag(3, 14, 0), Tag(16, 21, 1)))
    inside = edited(TaggedText("red star", (Tag(4, 8, 2), Tag(0, 3, 1))), [Edit(0, 8, "it")])
    assert inside == TaggedText("it", (Tag(0, 2, 2), Tag(0, 2, 1)))  # on changed characters: what stands there now
    assert edited(text, []) == text


def test_words_become_others_of_their_class() -> None:
    text = TaggedText("A red star left of a blue heart, reddish", (Tag(6, 10, 3), Tag(26, 31, 0)))
    seen = set()
    for seed in range(2000):
        changed = exchanged(text, COLOURS + SIDES, dice(seed))
        assert changed is not None
        found = changed.text
        assert found.text != text.text and found.text.endswith("heart, reddish")
        assert said_at(found) == [("star", 3), ("heart", 0)]
        plain = text.text.lower().split()
        words = {found.text[tag.start : tag.end] for tag in changed.words}
        assert words and words <= {"red", "orange", "blue", "left of", "right of"}
        assert all(word in words or word in plain or word in ("an", "a") for word in found.text.lower().split()[:3])
        seen.add(found.text)
    assert "An orange star left of a blue heart, reddish" in seen  # the article follows
    assert "A red star right of a blue heart, reddish" in seen  # alone, and the words of "left of" together
    assert "A blue star right of an orange heart, reddish" in seen
    assert len(seen) == 3 * 2 * 3 - 1
    assert exchanged(text, COLOURS, dice(5)) == exchanged(text, COLOURS, dice(5))
    assert exchanged(TaggedText("a green star"), COLOURS, dice()) is None


def test_without_classes_two_words_of_a_kind_change_places() -> None:
    text = TaggedText("a red star left of an orange heart", (Tag(6, 10, 0), Tag(29, 34, 1)))
    seen = {}
    for seed in range(40):
        changed = exchanged(text, (), dice(seed))
        assert changed is not None
        seen[changed.text.text] = said_at(changed.text)
        assert len(changed.words) == 2
    assert seen == {
        "an orange star left of a red heart": [("star", 0), ("heart", 1)],
        "a red heart left of an orange star": [("heart", 0), ("star", 1)],
        "an orange heart left of a red star": [("an orange heart", 0), ("a red star", 1)],
    }
    assert exchanged(TaggedText("a star"), (), dice()) is None


@pytest.mark.parametrize("text", ["Red is it", "is it red"])
def test_capitals_stay(text: str) -> None:
    found = exchanged(TaggedText(text), (("red", "blue"),), dice())
    assert found is not None and found.text.text == text.replace("Red", "Blue").replace("red", "blue")
