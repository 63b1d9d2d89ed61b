"""Hard-negative captions: the same words in another order (NegCLIP, "When and why vision-language models behave like
bags-of-words", 2023, section 4), by word lists instead of a part-of-speech tagger."""

from __future__ import annotations

import hashlib
import random
import re

COLOURS = frozenset(
    "red orange yellow green cyan blue purple pink brown white black grey gray gold silver beige tan".split()
)
NOUNS = frozenset(
    "circle square triangle diamond star heart cross ring moon arrow man woman boy girl child person dog cat horse cow "
    "sheep bird car bus truck train boat plane bike bicycle motorcycle table chair bench couch bed plate bowl cup "
    "bottle pizza sandwich cake tree grass street road building house beach water ball shirt hat umbrella phone".split()
)
RELATIONS = (
    "to the left of", "to the right of", "left of", "right of", "on top of", "in front of", "next to", "above", "over",
    "below", "under", "behind", "inside", "on", "in",
)  # fmt: skip
STOPWORDS = frozenset(
    "a an the of to in on at and or with is are was were be this that these there it its by for from as we see shows "
    "picture left right above below over under".split()
)


def hard_negatives(caption: str, *, seed: int = 0, sample_id: str = "", count: int = 1) -> list[str]:
    """Return up to `count` distinct captions with two parts of `caption` exchanged, none equal to it.

    A pure function of its arguments. First come swaps of known kinds (two colours, two nouns, a relation's sides), in
    an order drawn by (seed, sample id, caption); only without any of them, two words that aren't stopwords. A caption
    too short to swap gives []. That a swap is false of the picture isn't checked, as in NegCLIP.
    """
    key = hashlib.sha256(f"{seed}\0{sample_id}\0{caption}".encode()).digest()
    draw = random.Random(int.from_bytes(key[:8], "big"))
    parts = re.findall(r"\w+|\W+", caption)
    words = [i for i, part in enumerate(parts) if part.strip() and part[0].isalnum()]
    lower = [part.lower() for part in parts]
    found = {_swapped(parts, i, j) for kind in (COLOURS, NOUNS) for i, j in _pairs(words, lower, kind)}
    found |= _sides(caption)
    found.discard(caption)
    if not found:
        content = frozenset(lower[i] for i in words) - STOPWORDS
        found = {_swapped(parts, i, j) for i, j in _pairs(words, lower, content)} - {caption}
    order = sorted(found)
    draw.shuffle(order)
    return order[:count]


def _pairs(words: list[int], lower: list[str], kind: frozenset[str]) -> list[tuple[int, int]]:
    places = [i for i in words if lower[i] in kind]
    return [(i, j) for n, i in enumerate(places) for j in places[n + 1 :] if lower[i] != lower[j]]


def _swapped(parts: list[str], i: int, j: int) -> str:
    changed = list(parts)
    changed[i], changed[j] = parts[j], parts[i]
    return "".join(changed)


_THING = r"((?:an?|the) (?:\w+ ){0,3}?(?:NOUN)s?)\b".replace("NOUN", "|".join(sorted(NOUNS)))
_SIDES = re.compile(rf"\b{_THING} ({'|'.join(RELATIONS)}) {_THING}", re.IGNORECASE)


def _sides(caption: str) -> set[str]:
    """The caption with the two things around its first relation exchanged, where both are known nouns."""
    match = _SIDES.search(caption)
    if match is None:
        return set()
    a, word, b = match.groups()
    return {caption[: match.start()] + f"{b} {word} {a}" + caption[match.end() :]}
