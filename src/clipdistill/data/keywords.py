"""How important each word of a short text is, by YAKE's published formula (Campos et al. 2020), without its package.

A word's score H is low when the word is important. `importance` turns it round, for equation 5 of CLIP-TD.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import fmean, median, pstdev

from clipdistill.data.caption_words import DETERMINERS, FUNCTION

STOP_WORDS = DETERMINERS | FUNCTION
SHORTEST = 3
"""Letters; words of fewer are stop words, as in YAKE."""
_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\s\w]|_", re.UNICODE)
_CONTRACTED = re.compile(r"(n['’]t|['’]\w*)$")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Word:
    """A word (or a mark) of a text: its characters `start` to `end`, exclusive, and whether it can be a keyword."""

    text: str
    start: int
    end: int
    content: bool


@lru_cache(4096)
def words_of(text: str) -> tuple[Word, ...]:
    """The words and marks of a text, in order: letters and digits, joined by apostrophes and hyphens; else marks.

    A keyword can be what holds a letter, has three letters or more, and is no stop word.
    """
    return tuple(Word(one.group(), one.start(), one.end(), is_content(one.group())) for one in _TOKEN.finditer(text))


@lru_cache(65_536)
def is_content(word: str) -> bool:
    """Whether a word can be a keyword; of a contraction what stands before the apostrophe decides."""
    stem = _CONTRACTED.sub("", word.lower())
    letters, digits = sum(letter.isalpha() for letter in stem), sum(letter.isdigit() for letter in stem)
    return letters >= SHORTEST and not digits and stem not in STOP_WORDS


@lru_cache(4096)
def importance(text: str, longest: int = 3) -> tuple[float, ...]:
    """1 / (1 + S) of each of `words_of`, S the least score of the word and of the n-grams that hold it; 0 = no keyword.

    1 / (1 + S) is bounded and keeps the order. A text of one sentence that has each word once is nearly flat: words at
    the ends of a block, and names, come first, and the rest is equal.
    """
    words = words_of(text)
    best = [math.inf] * len(words)
    for gram, score in candidates(words, yake_scores(text), longest):
        for place in gram:
            if words[place].content:
                best[place] = min(best[place], score)
    return tuple(0.0 if math.isinf(one) else 1 / (1 + one) for one in best)


def yake_scores(text: str) -> dict[str, float]:
    """H of each content word of a text, by its lower-case form.

    H = (position * relatedness) / (case + frequency / relatedness + spread / relatedness), where position = ln ln(3 +
    the median of the numbers of the sentences that hold it, from 0), case = the larger of its capitalised (not first
    in a sentence) and its all-capitals occurrences / (1 + ln occurrences), frequency = occurrences / (mean + standard
    deviation over content words), spread = the share of sentences that hold it, and relatedness = 1 + (different words
    to its left / all to its left + the same to its right) * occurrences / the most of any word.
    """
    sentences = [words_of(one) for one in _SENTENCE.split(text) if one.strip()]
    seen: Counter[str] = Counter()
    upper: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    where: dict[str, list[int]] = defaultdict(list)
    left: dict[str, Counter[str]] = defaultdict(Counter)
    right: dict[str, Counter[str]] = defaultdict(Counter)
    for number, sentence in enumerate(sentences):
        for place, word in enumerate(sentence):
            if not any(letter.isalnum() for letter in word.text):
                continue
            key = word.text.lower()
            seen[key] += 1
            where[key].append(number)
            upper[key] += word.text.isupper() and len(word.text) > 1
            capital[key] += place > 0 and word.text[0].isupper() and not word.text.isupper()
        for first, second in pairwise(sentence):
            if all(any(letter.isalnum() for letter in one.text) for one in (first, second)):
                right[first.text.lower()][second.text.lower()] += 1
                left[second.text.lower()][first.text.lower()] += 1
    content = [key for key in seen if is_content(key)]
    if not content:
        return {}
    counts = [seen[key] for key in content]
    usual, most = fmean(counts) + pstdev(counts), max(seen.values())
    found: dict[str, float] = {}
    for key in content:
        times = seen[key]
        related = 1 + (_variety(left[key]) + _variety(right[key])) * times / most
        case = max(upper[key], capital[key]) / (1 + math.log(times))
        spread = len(set(where[key])) / len(sentences)
        position = math.log(math.log(3 + median(set(where[key]))))
        found[key] = position * related / (case + times / usual / related + spread / related)
    return found


def candidates(words: Sequence[Word], scores: dict[str, float], longest: int) -> Iterator[tuple[range, float]]:
    """n-grams of up to `longest` words, as places in `words`, and their scores, low = important.

    They begin and end with a content word and don't cross a mark. The score is the product of H over 1 + the sum of H
    and over how often the n-gram occurs. A stop word inside has no H: with p the share of its left neighbour's
    occurrences that are followed by it, times the share of its own that are followed by its right neighbour, the
    product is multiplied by 2 - p, and the sum lessened by 1 - p.
    """
    keys = [word.text.lower() for word in words]
    breaks = [not any(letter.isalnum() for letter in word.text) for word in words]
    spans = [
        range(start, start + size)
        for size in range(1, longest + 1)
        for start in range(len(words) - size + 1)
        if words[start].content and words[start + size - 1].content and not any(breaks[start : start + size])
    ]
    times = Counter(tuple(keys[place] for place in span) for span in spans)
    single, double = Counter(keys), Counter(pairwise(keys))
    for span in spans:
        product, total = 1.0, 0.0
        for place in span:
            if words[place].content:
                product, total = product * scores[keys[place]], total + scores[keys[place]]
            else:  # how often it doesn't stand between these neighbours
                before, own, after = keys[place - 1 : place + 2]
                apart = 1 - double[before, own] / single[before] * double[own, after] / single[after]
                product, total = product * (1 + apart), total - apart
        yield span, product / ((1 + total) * times[tuple(keys[place] for place in span)])


def _variety(neighbours: Counter[str]) -> float:
    """Different neighbours over all of them; 0 without any."""
    return len(neighbours) / neighbours.total() if neighbours else 0.0
