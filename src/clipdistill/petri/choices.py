"""VCR's kind of question about scenes: four answers, four rationales, tags, hard distractors and a planted shortcut.

The things of a scene are VCR's persons: a tag becomes a gender-neutral name, gives nothing away, and VCR's rules about
persons and pronouns have something to work on. An answer names who was asked about by the tag of the question or by a
pronoun, and repeats the question's description of it or not. The right answer does either more often than the wrong
ones, at stated rates: that is the shortcut. Rationales have the tags, and nothing to repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clipdistill.petri.captions import phrase, where
from clipdistill.petri.draws import Draws, stream
from clipdistill.petri.questions import EVERYWHERE, one_of
from clipdistill.petri.scenes import Scene, SceneRules, Thing, relation
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, OPPOSITE, PATTERNS, SHAPES, SIZES

CHOICES_A_PICTURE = 3
OPTIONS = 4
SHORTCUT = (0.75, 0.45)
Token = str | list[int]
_COUNTS = ("the only one", "one of two", "one of three", "one of four")


@dataclass(frozen=True)
class Choice:
    """A question about thing `about`; answers and rationales in the order written, and which of each is right."""

    kind: str
    about: int
    question: list[Token]
    answers: list[list[Token]]
    answer: int
    rationales: list[list[Token]]
    rationale: int


@dataclass(frozen=True)
class _Draft:
    """What is asked ("What colour is"), how the thing is described, and predicates: the right one first."""

    start: str
    noun: str
    predicates: list[str]


def choices(
    rules: SceneRules, scene: Scene, shortcut: tuple[float, float] = SHORTCUT, count: int = CHOICES_A_PICTURE
) -> tuple[Choice, ...]:
    """Return up to `count` questions of different kinds: a pure function of its arguments.

    shortcut: with which probability the right answer has the question's tag, and, drawn apart, its description; and
    with which a wrong answer does. The questions themselves don't depend on it.
    """
    draws = Draws(stream("choices", scene.grain, scene.key()), 512)
    found: list[Choice] = []
    for kind in (list(_KINDS)[number] for number in draws.order(len(_KINDS))):
        if len(found) == count:
            break
        about = draws.integer(len(scene.things))
        draft = _KINDS[kind](rules, scene, scene.things[about], draws)
        if draft is None:
            continue
        pronoun = "he" if draws.chance(0.5) else "she"
        question: list[Token] = [*draft.start.split(), [about], *_comma(draft.noun), "?"]
        answers, answer = _written(draft.predicates, draft.noun, about, pronoun, shortcut, draws)
        facts = _facts(scene, scene.things[about], kind in ("place", "relation"), draws)
        rationales, rationale = _written(facts, "", about, pronoun, shortcut, draws)
        found.append(Choice(kind, about, question, answers, answer, rationales, rationale))
    return tuple(found)


def _written(
    predicates: Sequence[str], noun: str, about: int, pronoun: str, shortcut: tuple[float, float], draws: Draws
) -> tuple[list[list[Token]], int]:
    """Four options in a drawn order, and where the first predicate, the right one, has gone."""
    order = draws.order(OPTIONS)
    coins = draws.take(2 * OPTIONS)
    options: list[list[Token]] = []
    for which in order:
        rate = shortcut[0] if which == 0 else shortcut[1]
        subject: Token = [about] if coins[2 * which] < rate else pronoun
        described = _comma(noun) + [","] if noun and coins[2 * which + 1] < rate else []
        options.append([subject, *described, *predicates[which].replace(",", " ,").split(), "."])
    return options, order.index(0)


def _comma(noun: str) -> list[Token]:
    return [",", *noun.split()] if noun else []


def _four(right: str, wrong: Iterable[str]) -> list[str] | None:
    """The right predicate and the first three others, or None when there are too few."""
    found = [right]
    for one in wrong:
        if one not in found:
            found.append(one)
        if len(found) == OPTIONS:
            return found
    return None


def _drafted(start: str, noun: str, predicates: list[str] | None) -> _Draft | None:
    return None if predicates is None else _Draft(start, noun, predicates)


def _shuffled(items: Iterable[str], draws: Draws) -> list[str]:
    listed = list(items)
    return [listed[place] for place in draws.order(len(listed))]


def _others(scene: Scene, thing: Thing) -> list[Thing]:
    return [other for other in scene.things if other is not thing]


def _named(colour: str, shape: str) -> str:
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}"


def _colour(rules: SceneRules, scene: Scene, thing: Thing, draws: Draws) -> _Draft | None:
    hard = [*(other.colour for other in _others(scene, thing)), *_shuffled(COLOURS, draws)]
    wrong = [colour for colour in hard if colour != thing.colour and (colour, thing.shape) in rules.pairs]
    options = _four(f"is {phrase(thing)}", (f"is {_named(colour, thing.shape)}" for colour in wrong))
    return _drafted("What colour is", f"the {thing.shape}", options)


def _shape(rules: SceneRules, scene: Scene, thing: Thing, draws: Draws) -> _Draft | None:
    hard = [*(other.shape for other in _others(scene, thing)), *_shuffled(SHAPES, draws)]
    wrong = [shape for shape in hard if shape != thing.shape and (thing.colour, shape) in rules.pairs]
    options = _four(f"is {phrase(thing)}", (f"is {_named(thing.colour, shape)}" for shape in wrong))
    return _drafted("What shape is", f"the {thing.colour} one", options)


def _count(rules: SceneRules, scene: Scene, thing: Thing, draws: Draws) -> _Draft | None:
    right = _COUNTS[len(scene.things) - 1]
    options = _four(f"is {right}", (f"is {count}" for count in _COUNTS))
    return _drafted("How many things are there with", f"the {thing.name}", options)


def _place(rules: SceneRules, scene: Scene, thing: Thing, draws: Draws) -> _Draft | None:
    hard = [*(where(other) for other in _others(scene, thing)), *_shuffled(EVERYWHERE, draws)]
    options = _four(f"is {where(thing)}", (f"is {place}" for place in hard))
    return _drafted("Whereabouts is", f"the {thing.name}", options)


def _relation(rules: SceneRules, scene: Scene, thing: Thing, draws: Draws) -> _Draft | None:
    clear = [other for other in _others(scene, thing) if relation(other, thing) is not None]
    if not clear:
        return None
    right = one_of(clear, draws)
    word = relation(right, thing)
    assert word is not None

    def false(pair: tuple[str, str]) -> bool:
        # A thing of the scene is offered where it lies on the other side: above and a bit to the left is half true.
        found = next((other for other in scene.things if (other.colour, other.shape) == pair), None)
        return found is None or (found is not thing and _side(found, thing, word) < 0)

    pairs = _square(rules, scene, thing, right, false, draws)
    said = OPPOSITE[word]
    predicates = None if pairs is None else [f"is {said} {_named(*pair)}" for pair in pairs]
    return _drafted(f"Which one is {word}", f"the {thing.name}", predicates)


def _side(a: Thing, b: Thing, word: str) -> float:
    """How far `a` lies to the side of `b` that `word` says; below 0 = on the other side."""
    return {"left of": b.x - a.x, "right of": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[word]


def _presence(rules: SceneRules, scene: Scene, thing: Thing, draws: Draws) -> _Draft | None:
    others = _others(scene, thing)
    if not others:
        return None
    right = one_of(others, draws)
    there = {(other.colour, other.shape) for other in scene.things}
    pairs = _square(rules, scene, thing, right, lambda pair: pair not in there, draws)
    predicates = None if pairs is None else [f"is with {_named(*pair)}" for pair in pairs]
    return _drafted("What else is there with", f"the {thing.name}", predicates)


def _square(
    rules: SceneRules,
    scene: Scene,
    thing: Thing,
    right: Thing,
    false: Callable[[tuple[str, str]], bool],
    draws: Draws,
) -> list[tuple[str, str]] | None:
    """The right (colour, shape), and three false ones: another colour, another shape, both.

    The four are a square, so that none of them has more in common with the others than the rest: text alone can't tell
    the right one by that. The other colour and shape are of further things in the scene where there are any (and not
    of the thing asked about, whose description the question tells).
    """
    further = [other for other in scene.things if other is not thing and other is not right]
    colours = [*(other.colour for other in further), *_shuffled(COLOURS, draws)]
    shapes = [*(other.shape for other in reversed(further)), *_shuffled(SHAPES, draws)]
    for colour in dict.fromkeys(one for one in colours if one != right.colour):
        for shape in dict.fromkeys(one for one in shapes if one != right.shape):
            wrong = [(colour, right.shape), (right.colour, shape), (colour, shape)]
            if all(pair in rules.pairs and false(pair) for pair in wrong):
                return [(right.colour, right.shape), *wrong]
    return None


def _background(rules: SceneRules, scene: Scene, thing: Thing, draws: Draws) -> _Draft | None:
    options = _four(f"is on {scene.background}", (f"is on {ground}" for ground in _shuffled(BACKGROUNDS, draws)))
    return _drafted("What is behind", f"the {thing.name}", options)


def _facts(scene: Scene, thing: Thing, no_place: bool, draws: Draws) -> list[str]:
    """What else can be seen of the thing, the true fact first: where it is, its size and its pattern.

    Questions about the place and what lies where leave the place out: they would tell which is right. The four are a
    square (see `_square`) of two places and two looks, of two sizes and two patterns without the place; what is false
    is true of another thing where there is one.
    """
    others = [scene.things[place] for place in draws.order(len(scene.things)) if scene.things[place] is not thing]
    looks = [(size, pattern) for size in SIZES for pattern in PATTERNS]
    looks = [looks[place] for place in draws.order(len(looks))]
    if no_place:
        size = next(one for one in SIZES if one != thing.size)
        patterns = [*(other.pattern for other in others), *(pattern for _, pattern in looks)]
        pattern = next(one for one in patterns if one != thing.pattern)
        square = [(thing.size, thing.pattern), (thing.size, pattern), (size, thing.pattern), (size, pattern)]
        return [f"is {a} and {b}" for a, b in square]
    places = [*(where(other) for other in others), *_shuffled(EVERYWHERE, draws)]
    place = next(one for one in places if one != where(thing))
    look = (thing.size, thing.pattern)
    other_look = next(one for one in [*((other.size, other.pattern) for other in others), *looks] if one != look)
    return [f"is {a}, {b[0]} and {b[1]}" for a in (where(thing), place) for b in (look, other_look)]


_KINDS: dict[str, Callable[[SceneRules, Scene, Thing, Draws], _Draft | None]] = {
    "colour": _colour,
    "shape": _shape,
    "count": _count,
    "place": _place,
    "relation": _relation,
    "presence": _presence,
    "background": _background,
}
