"""Captions: five, distinct, short, and every claim in them true of the scene."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from clipdistill.petri.captions import captions, phrase, tokens_of
from clipdistill.petri.scenes import Scene, SceneRules, Thing, region
from clipdistill.petri.splits import split_scenes
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, SIZES

SCENES = split_scenes(SceneRules(), 0, "test", 400)
THING = re.compile(
    rf"\ban? (?:({'|'.join(SIZES)}) )?(?:({'|'.join(PATTERNS)}) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b"
)
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}


def mentioned(caption: str, scene: Scene) -> list[tuple[re.Match[str], Thing]]:
    """Return each object phrase with the one thing of the scene that it describes; fail where there is none."""
    found = []
    for match in THING.finditer(caption):
        size, pattern, colour, shape = match.groups()
        fitting = [
            t
            for t in scene.things
            if (t.colour, t.shape) == (colour, shape) and size in (None, t.size) and pattern in (None, t.pattern)
        ]
        assert len(fitting) == 1, f"{caption!r} names {match.group()!r}, which {scene.key()!r} has not"
        found.append((match, fitting[0]))
    return found


def test_five_distinct_captions_and_the_same_again() -> None:
    for scene in SCENES:
        made = captions(scene)
        assert len(set(made)) == 5 and made == captions(scene)


def test_objects_named_exist_and_no_shape_is_named_otherwise() -> None:
    for scene in SCENES:
        for caption in captions(scene):
            named = mentioned(caption, scene)
            assert len(named) >= min(2, len(scene.things))
            assert len({thing for _, thing in named}) == len(named)
            shapes = [word for word in tokens_of(caption) if word in SHAPES]
            assert len(shapes) == len(named)


def test_relations_are_true() -> None:
    seen: Counter[str] = Counter()
    for scene in SCENES:
        for caption in captions(scene):
            named = mentioned(caption, scene)
            first = named[0][1]  # relations are always told from the first object named: "A left of B and above C"
            for match, thing in named[1:]:
                previous = [m for m, _ in named if m.end() <= match.start()][-1]
                said = caption[previous.end() : match.start()].strip()
                said = re.sub(r"^and ", "", said).replace("to the ", "")
                dx, dy = first.x - thing.x, first.y - thing.y
                true = {
                    "left of": dx < 0,
                    "right of": dx > 0,
                    "above": dy < 0,
                    "over": dy < 0,
                    "below": dy > 0,
                    "under": dy > 0,
                }
                if said in true:
                    assert true[said], f"{caption!r} of {scene}"
                    across = abs(dx) > abs(dy)
                    assert across == (said in ("left of", "right of"))
                    seen[said] += 1
    assert set(seen) == {"left of", "right of", "above", "over", "below", "under"}


def test_places_backgrounds_and_counts_are_true() -> None:
    seen: Counter[str] = Counter()
    for scene in SCENES:
        for caption in captions(scene):
            for match, thing in mentioned(caption, scene):
                place = re.match(r" (?:in the (top left|top right|bottom left|bottom right|middle)|at the (top|bottom|left|right)\b)", caption[match.end() :])  # fmt: skip # noqa: E501
                if place:
                    word = place.group(1) or place.group(2)
                    assert region(thing) == {"middle": "centre"}.get(word, word)
                    seen["place"] += 1
            ground = re.search(rf" on (?:a )?({'|'.join(BACKGROUNDS)})\b", caption)
            if ground:
                assert ground.group(1) == scene.background
                seen["ground"] += 1
            number = re.match(r"(one|two|three|four) shapes?\b", caption)
            if number:
                assert NUMBERS[number.group(1)] == len(scene.things)
                seen["count"] += 1
    assert min(seen[k] for k in ("place", "ground", "count")) > 100


@pytest.mark.parametrize(
    ("thing", "size", "pattern", "text"),
    [
        (Thing("star", "orange", "small", "plain", 0.5, 0.5, 0.1), False, False, "an orange star"),
        (Thing("star", "orange", "small", "plain", 0.5, 0.5, 0.1), True, True, "a small plain orange star"),
        (Thing("ring", "red", "large", "dotted", 0.5, 0.5, 0.1), False, True, "a dotted red ring"),
    ],
)
def test_phrase(thing: Thing, size: bool, pattern: bool, text: str) -> None:
    assert phrase(thing, size, pattern) == text


def test_tokens_are_clean_words() -> None:
    words = {word for scene in SCENES for caption in captions(scene) for word in tokens_of(caption)}
    assert all(re.fullmatch("[a-z]+", word) for word in words)
    assert len(words) < 80


def test_captions_tell_test_pictures_apart() -> None:
    # Retrieval among a thousand must be solvable: hardly a caption may fit a second picture word for word.
    count = Counter(caption for scene in split_scenes(SceneRules(), 0, "test", 1000) for caption in captions(scene))
    assert sum(n for n in count.values() if n > 1) < 0.02 * sum(count.values())
