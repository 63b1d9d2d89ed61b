"""Hypotheses about scenes: entailed, contradicted, or such that the picture can't tell.

What a picture can't tell are properties that nothing in it shows (heavy, old, ...). Words alone don't give the class
away: "there is a heavy red circle" can't be told where a red circle is, and is false where none is.
"""

from __future__ import annotations

from clipdistill.petri.captions import phrase, where
from clipdistill.petri.draws import Draws, stream
from clipdistill.petri.questions import exchanged, one_of
from clipdistill.petri.scenes import Scene, SceneRules, relation
from clipdistill.petri.vocabulary import BACKGROUNDS, OPPOSITE

LABELS: tuple[str, ...] = ("entailment", "neutral", "contradiction")
HIDDEN: tuple[str, ...] = ("heavy", "old", "wooden", "soft", "warm", "new")
COUNTS: tuple[str, ...] = ("one shape", "two shapes", "three shapes", "four shapes")


def hypotheses(rules: SceneRules, scene: Scene) -> tuple[tuple[str, str], ...]:
    """Return (label, hypothesis), one of each label, as far as `rules` leave pairs to be wrong about."""
    draws = Draws(stream("hypotheses", scene.grain, scene.key()), 256)
    found = [("entailment", _entailed(scene, draws)), ("neutral", _hidden(one_of(scene.things, draws).name, draws))]
    wrong = _contradicted(rules, scene, draws)
    return (*found, ("contradiction", wrong))


def _entailed(scene: Scene, draws: Draws) -> str:
    thing, other = one_of(scene.things, draws), one_of(scene.things, draws)
    word = relation(thing, other) if thing is not other else None
    kind = draws.integer(6)
    if kind == 0:
        return f"there {'is' if len(scene.things) == 1 else 'are'} {COUNTS[len(scene.things) - 1]}"
    if kind == 1:
        return f"the background is {scene.background}"
    if kind == 2:
        return f"{phrase(thing)} is {where(thing)}"
    if kind == 3 and word is not None:
        return f"{phrase(thing)} is {word} {phrase(other)}"
    if kind == 4:
        return f"there is {phrase(thing)}, {HIDDEN[draws.integer(len(HIDDEN))]} or not"
    return f"there is {phrase(thing)}"


def _hidden(name: str, draws: Draws) -> str:
    word = HIDDEN[draws.integer(len(HIDDEN))]
    return f"there is {'an' if word[0] in 'aeiou' else 'a'} {word} {name}"


def _contradicted(rules: SceneRules, scene: Scene, draws: Draws) -> str:
    thing, other = one_of(scene.things, draws), one_of(scene.things, draws)
    word = relation(thing, other) if thing is not other else None
    absent = next(exchanged(rules, scene, draws), None)
    kind = draws.integer(6)
    if kind == 0 or absent is None:
        number = [count for count in range(4) if count != len(scene.things) - 1][draws.integer(3)]
        return f"there {'is' if number == 0 else 'are'} {COUNTS[number]}"
    if kind == 1:
        others = [ground for ground in BACKGROUNDS if ground != scene.background]
        return f"the background is {others[draws.integer(len(others))]}"
    if kind == 2 and word is not None:
        return f"{phrase(thing)} is {OPPOSITE[word]} {phrase(other)}"
    name = " ".join(absent)
    article = "an" if name[0] in "aeiou" else "a"
    if kind == 3:
        return f"there is {article} {name}, {HIDDEN[draws.integer(len(HIDDEN))]} or not"
    if kind == 4:
        return f"there is {article} {name}"
    return _hidden(name, draws)
