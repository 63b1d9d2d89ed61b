"""Hard-negative captions: the same words in another order (NegCLIP, "When and why vision-language models behave like
bags-of-words", 2023, section 4), by word lists and rules instead of a part-of-speech tagger."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from itertools import combinations

from clipdistill.data.caption_words import DETERMINERS, FUNCTION, Reading, read_caption, with_articles

Span = tuple[int, int]
SYMMETRIC = re.compile(r"\W*(?:and|or|next to|near|beside|by|close to|along with|alongside)?\W*", re.IGNORECASE)
"""What may lie between two things so that exchanging them changes nothing of what the caption says."""


def hard_negatives(caption: str, *, seed: int = 0, sample_id: str = "", count: int = 1) -> list[str]:
    """Return up to `count` distinct captions with two parts of `caption` exchanged, none equal to it.

    A pure function of its arguments. First come swaps of a kind (two nouns, two adjectives, two noun phrases, two
    verbs, two adverbs), in an order drawn by (seed, sample id, caption); only without any of them, two words of
    whatever kind. "a" and "an" follow their word. Things that a symmetric word joins ("a cat and a dog", "next to")
    aren't exchanged as wholes; otherwise that a swap is false of the picture isn't checked, as in NegCLIP. A caption
    too short to swap gives [].
    """
    key = hashlib.sha256(f"{seed}\0{sample_id}\0{caption}".encode()).digest()
    draw = random.Random(int.from_bytes(key[:8], "big"))
    reading = read_caption(caption)
    found = _different(caption, swaps_of_a_kind(reading))
    if not found:
        content = [i for i in reading.words if reading.parts[i].lower() not in FUNCTION | DETERMINERS]
        found = _different(caption, (_swap(reading, (i, i + 1), (j, j + 1)) for i, j in combinations(content, 2)))
    order = sorted(found)
    draw.shuffle(order)
    return order[:count]


def swaps_of_a_kind(reading: Reading) -> Iterator[str]:
    """The caption with two nouns, two adjectives, two noun phrases, two verbs or two adverbs exchanged."""
    for first, second in pairs_of_a_kind(reading):
        yield _swap(reading, first, second)


def pairs_of_a_kind(reading: Reading) -> Iterator[tuple[Span, Span]]:
    """What `swaps_of_a_kind` exchanges: parts [start, stop) of the caption, the first before the second."""
    for a, b in combinations(reading.phrases, 2):
        joined = SYMMETRIC.fullmatch("".join(reading.parts[a.stop : b.start])) is not None
        described = bool(a.modifiers or b.modifiers or a.head - a.start > 2 or b.head - b.start > 2)
        if described or not joined:
            yield (a.head, a.head + 1), (b.head, b.head + 1)
        if not joined:
            yield (a.start, a.stop), (b.start, b.stop)
        for i in a.modifiers:
            for j in b.modifiers:
                yield (i, i + 1), (j, j + 1)
    for places in (reading.verbs, reading.adverbs):
        for i, j in combinations(places, 2):
            yield (i, i + 1), (j, j + 1)


def _different(caption: str, texts: Iterator[str]) -> set[str]:
    """Those that aren't the caption itself, whatever the capitals and articles."""
    return {text for text in texts if text.lower() != caption.lower()}


def _swap(reading: Reading, a: Span, b: Span) -> str:
    """The caption with parts [a) and [b), a before b, exchanged."""
    parts = reading.parts
    first, second = parts[a[0] : a[1]], parts[b[0] : b[1]]
    if "".join(first).lower() == "".join(second).lower():
        return "".join(parts)
    if a[0] == reading.words[0] and first[0].istitle() and second[0].islower():
        first, second = [first[0].lower(), *first[1:]], [second[0].capitalize(), *second[1:]]
    return with_articles([*parts[: a[0]], *second, *parts[a[1] : b[0]], *first, *parts[b[1] :]])
