"""Questions about scenes that can be answered by construction: what colour, what shape, how many, where, what is there.

Each gives all of its right answers (two red things: two shapes are right), each in the words of `answer_words`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from clipdistill.petri.captions import where
from clipdistill.petri.draws import Draws, stream
from clipdistill.petri.scenes import Scene, SceneRules, Thing, region, relation
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, RELATIONS, SHAPES

QUESTIONS_A_PICTURE = 4
PLACES: tuple[str, ...] = (
    "top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right",
)  # fmt: skip
EVERYWHERE: tuple[str, ...] = tuple(
    where(Thing("circle", "red", "small", "plain", x, y, 0.1)) for y in (0.1, 0.5, 0.9) for x in (0.1, 0.5, 0.9)
)
"""The same places as captions say them: "in the top left", "at the top", ..."""

MOST_THINGS = 4


@dataclass(frozen=True)
class Asked:
    """A question, its kind and its right answers, at least one."""

    kind: str
    text: str
    answers: tuple[str, ...]


def answer_words(rules: SceneRules) -> tuple[str, ...]:
    """Every answer that a question of such a world can have."""
    names = sorted(f"{colour} {shape}" for colour, shape in rules.pairs)
    counts = [str(number) for number in range(MOST_THINGS + 1)]
    return ("yes", "no", *counts, *COLOURS, *SHAPES, *PLACES, *BACKGROUNDS, *names)


def questions(rules: SceneRules, scene: Scene, count: int = QUESTIONS_A_PICTURE) -> tuple[Asked, ...]:
    """Return `count` questions of different kinds: a pure function of rules and scene.

    Nothing that is asked names a colour and shape together that `rules` don't allow.
    """
    draws = Draws(stream("questions", scene.grain, scene.key()), 256)
    found: list[Asked] = []
    for number in draws.order(len(_KINDS)):
        if len(found) == count:
            break
        asked = _KINDS[number](rules, scene, draws)
        if asked is not None:
            found.append(asked)
    return tuple(found)


def more_questions(rules: SceneRules, scene: Scene, rounds: int) -> tuple[Asked, ...]:
    """Up to `rounds` different questions of each kind, mixed, of which each has one right answer.

    A pure function of rules and scene, drawn apart from `questions`.
    """
    draws = Draws(stream("more questions", scene.grain, scene.key()), 1024)
    found: dict[str, Asked] = {}
    for _ in range(rounds):
        for number in draws.order(len(_KINDS)):
            asked = _KINDS[number](rules, scene, draws)
            if asked is not None and len(asked.answers) == 1:
                found.setdefault(asked.text, asked)
    return tuple(found.values())


def given_answers(scene: Scene, asked: Asked, people: int = 10) -> tuple[str, ...]:
    """What `people` answer: each one of the right answers, so all the same where only one is right."""
    draws = Draws(stream("answers", scene.grain, scene.key(), asked.text))
    return tuple(asked.answers[draws.integer(len(asked.answers))] for _ in range(people))


def exchanged(rules: SceneRules, scene: Scene, draws: Draws) -> Iterator[tuple[str, str]]:
    """Yield (colour, shape) pairs that aren't in the scene, the hardest first: colours and shapes of its things
    exchanged, then pairs that share a colour or a shape with one of them."""
    there = {(thing.colour, thing.shape) for thing in scene.things}
    mixed = [(a.colour, b.shape) for a in scene.things for b in scene.things]
    close = [(colour, thing.shape) for thing in scene.things for colour in COLOURS]
    close += [(thing.colour, shape) for thing in scene.things for shape in SHAPES]
    seen: set[tuple[str, str]] = set()
    for pairs in (mixed, close):
        for place in draws.order(len(pairs)):
            pair = pairs[place]
            if pair in rules.pairs and pair not in there and pair not in seen:
                seen.add(pair)
                yield pair


def one_of(items: Sequence[Thing], draws: Draws) -> Thing:
    """A thing, drawn."""
    return items[draws.integer(len(items))]


def unique(answers: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(answers))


def _colour(rules: SceneRules, scene: Scene, draws: Draws) -> Asked:
    shape = one_of(scene.things, draws).shape
    return Asked("colour", f"what colour is the {shape}?", unique(t.colour for t in scene.things if t.shape == shape))


def _shape(rules: SceneRules, scene: Scene, draws: Draws) -> Asked:
    colour = one_of(scene.things, draws).colour
    right = unique(t.shape for t in scene.things if t.colour == colour)
    return Asked("shape", f"what shape is the {colour} thing?", right)


def _count(rules: SceneRules, scene: Scene, draws: Draws) -> Asked:
    if draws.chance(0.5):
        return Asked("count", "how many things are there?", (str(len(scene.things)),))
    # Now and then a colour that isn't there.
    colours = [*(thing.colour for thing in scene.things), list(COLOURS)[draws.integer(len(COLOURS))]]
    colour = colours[draws.integer(len(colours))]
    right = sum(thing.colour == colour for thing in scene.things)
    return Asked("count", f"how many {colour} things are there?", (str(right),))


def _place(rules: SceneRules, scene: Scene, draws: Draws) -> Asked:
    thing = one_of(scene.things, draws)
    return Asked("place", f"whereabouts is the {thing.name}?", (region(thing),))


def _relation(rules: SceneRules, scene: Scene, draws: Draws) -> Asked | None:
    thing, word = one_of(scene.things, draws), RELATIONS[draws.integer(len(RELATIONS))]
    right = unique(other.name for other in scene.things if other is not thing and relation(other, thing) == word)
    return Asked("relation", f"what is {word} the {thing.name}?", right) if right else None


def _presence(rules: SceneRules, scene: Scene, draws: Draws) -> Asked | None:
    if draws.chance(0.5):
        return Asked("presence", f"is there a {one_of(scene.things, draws).name}?", ("yes",))
    absent = next(exchanged(rules, scene, draws), None)
    return None if absent is None else Asked("presence", f"is there a {' '.join(absent)}?", ("no",))


def _background(rules: SceneRules, scene: Scene, draws: Draws) -> Asked:
    return Asked("background", "what is the background?", (scene.background,))


_KINDS: tuple[Callable[[SceneRules, Scene, Draws], Asked | None], ...] = (
    _colour,
    _shape,
    _count,
    _place,
    _relation,
    _presence,
    _background,
)
