"""Captions of a scene: five distinct paraphrases, each true of the picture, none of them telling everything."""

from __future__ import annotations

from collections.abc import Callable

from clipdistill.petri.draws import Draws, stream
from clipdistill.petri.scenes import Scene, Thing, region, relation

CAPTIONS_AN_IMAGE = 5

_OPENINGS = ("", "", "", "a picture of ", "there is ", "we see ", "this picture shows ")
_SAID = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
_COUNTS = {1: "one shape", 2: "two shapes", 3: "three shapes", 4: "four shapes"}


def captions(scene: Scene, count: int = CAPTIONS_AN_IMAGE) -> tuple[str, ...]:
    """Return `count` distinct captions of `scene`, in lower case: a pure function of the scene.

    A caption names two or more objects by colour and shape (one, with more detail, where there is one), often with
    how they lie to each other, now and then with sizes, patterns, the place in the picture or the background. Two
    pictures may share a caption, as in real data, but rarely do.
    """
    draws = Draws(stream("captions", scene.grain, scene.key()), 512)
    found: dict[str, None] = {}
    kinds: list[Callable[[Scene, Draws], str | None]] = []
    while len(found) < count:
        if not kinds:
            pool = (
                [_alone, _alone_placed] if len(scene.things) == 1 else [_pair, _pair, _chain, _all, _counted, _placed]
            )
            kinds = [pool[i] for i in draws.order(len(pool))]
        text = kinds.pop()(scene, draws)
        if text is not None:
            found[text] = None
    return tuple(found)


def tokens_of(caption: str) -> list[str]:
    """Return the words of `caption` without punctuation, as the Karpathy files list them."""
    return caption.replace(",", " ").replace(":", " ").split()


def phrase(thing: Thing, size: bool = False, pattern: bool = False) -> str:
    """Return for example "a large striped red circle", with or without the size and the pattern."""
    words = [thing.size] * size + [thing.pattern] * pattern + [thing.colour, thing.shape]
    return ("an " if words[0][0] in "aeiou" else "a ") + " ".join(words)


def _some(thing: Thing, draws: Draws, share: float) -> str:
    return phrase(thing, draws.chance(share), draws.chance(share))


def _ground(scene: Scene, draws: Draws, share: float) -> str:
    if not draws.chance(share):
        return ""
    return f" on {scene.background}" if draws.chance(0.5) else f" on a {scene.background} background"


def _opening(draws: Draws) -> str:
    return _OPENINGS[draws.integer(len(_OPENINGS))]


def _said(word: str, draws: Draws) -> str:
    return _SAID[word][draws.integer(len(_SAID[word]))]


def where(thing: Thing) -> str:
    """Return "in the top left", "at the left", "in the middle" and so on."""
    name = region(thing)
    if name == "centre":
        return "in the middle"
    return f"in the {name}" if " " in name else f"at the {name}"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _shuffled(scene: Scene, draws: Draws) -> list[Thing]:
    return [scene.things[i] for i in draws.order(len(scene.things))]


def _alone(scene: Scene, draws: Draws) -> str | None:
    detail = draws.integer(3)
    return _opening(draws) + phrase(scene.things[0], detail != 1, detail != 2) + _ground(scene, draws, 1.0)


def _alone_placed(scene: Scene, draws: Draws) -> str | None:
    detail, thing = draws.integer(3), scene.things[0]
    text = f"{_opening(draws)}{phrase(thing, detail != 1, detail != 2)} {where(thing)}"
    return text + _ground(scene, draws, 0.6)


def _pair(scene: Scene, draws: Draws) -> str | None:
    a, b = _shuffled(scene, draws)[:2]
    word = relation(a, b)
    if word is None:
        return f"{_opening(draws)}{_some(a, draws, 0.5)} with {_some(b, draws, 0.5)}" + _ground(scene, draws, 0.4)
    text = f"{_some(a, draws, 0.4)} {_said(word, draws)} {_some(b, draws, 0.4)}"
    return _opening(draws) + text + _ground(scene, draws, 0.3)


def _chain(scene: Scene, draws: Draws) -> str | None:
    if len(scene.things) < 3:
        return None
    a, b, c = _shuffled(scene, draws)[:3]
    first, second = relation(a, b), relation(a, c)
    if first is None or second is None:
        return None
    text = f"{_some(a, draws, 0.4)} {_said(first, draws)} {_some(b, draws, 0.2)} and {_said(second, draws)} "
    return _opening(draws) + text + _some(c, draws, 0.2)


def _all(scene: Scene, draws: Draws) -> str | None:
    share = 0.6 if len(scene.things) == 2 else 0.15
    return (
        _opening(draws) + _join([_some(t, draws, share) for t in _shuffled(scene, draws)]) + _ground(scene, draws, 0.3)
    )


def _counted(scene: Scene, draws: Draws) -> str | None:
    told = _shuffled(scene, draws)[:3]
    share = 0.6 if len(told) == 2 else 0.25
    linking = " with " if len(told) < len(scene.things) else ": "
    return (
        _COUNTS[len(scene.things)]
        + _ground(scene, draws, 0.4)
        + linking
        + _join([_some(t, draws, share) for t in told])
    )


def _placed(scene: Scene, draws: Draws) -> str | None:
    a, b = _shuffled(scene, draws)[:2]
    return f"{_opening(draws)}{_some(a, draws, 0.4)} {where(a)} and {_some(b, draws, 0.4)} {where(b)}"
