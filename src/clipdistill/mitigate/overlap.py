"""Which words of an answer its question, or its picture's labels, have too: words by their lemmas, tags by number.

A word counts if it is a content word: it has a letter and isn't a stop word (`STOP_WORDS`: articles, pronouns,
auxiliaries, prepositions, conjunctions, question words). Two words overlap when they have a lemma in common, as any
part of speech: "left" with "leaves", too. What WordNet doesn't know is compared as it is, in lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

import numpy as np

from clipdistill.data.tagged_text import MASK
from clipdistill.data.wordnet import PARTS, WordNet
from clipdistill.mitigate.vcr_files import Record, Token

STOP_WORDS = frozenset(
    """
    a an the this that these those some any no each every either neither both all another other such i you he
    she it we they me him her us them my your his its our their mine yours hers ours theirs myself yourself
    himself herself itself ourselves yourselves themselves who whom whose which what when where why how
    whereabouts am is are was were be been being do does did doing done have has had having will would shall
    should can could may might must ought not n't nor yes and or but if because as until while so than then too
    very just also only of at by for with about against between into through during before after above below to
    from up down in out on off over under again further once here there something someone anything anyone
    nothing everyone s t d m re ve ll 's 't 'd 'm 're 've 'll don doesn didn isn aren wasn weren won wouldn
    couldn shouldn hasn haven hadn one ones
    """.split()
)
Keys = frozenset[str | int]


class Overlap:
    """Lemmas of words, remembered."""

    def __init__(self, wordnet: WordNet) -> None:
        self.wordnet = wordnet
        self.lemmas: Callable[[str], frozenset[str]] = cache(self._lemmas)

    def _lemmas(self, word: str) -> frozenset[str]:
        """Of a word, stop word or not; what WordNet doesn't know is its own lemma."""
        found = {lemma for part in PARTS for lemma in self.wordnet.lemmas(word, part)}
        return frozenset(found or {word.lower()})

    def content(self, word: str) -> frozenset[str]:
        """Lemmas of a content word; of any other none."""
        return self.lemmas(word) if is_content(word) else frozenset()

    def in_question(self, record: Record) -> Keys:
        """Lemmas and tags of a question."""
        return self._keys(record["question"])

    def in_labels(self, record: Record) -> Keys:
        """Lemmas of the object labels of a picture ("traffic light" is two words), and the numbers of its objects."""
        words = (word for label in record["objects"] for word in label.split())
        return self._keys([*words, list(range(len(record["objects"])))])

    def count(self, option: Sequence[Token], keys: Keys) -> int:
        """How many different words and tags of an option are among `keys`."""
        words = {word.lower() for word in words_of(option) if self.content(word) & keys}
        return len(words) + len(tags_of(option) & keys)

    def _keys(self, tokens: Sequence[Token]) -> Keys:
        found = (lemma for word in words_of(tokens) for lemma in self.content(word))
        return frozenset(found) | tags_of(tokens)


def is_content(word: str) -> bool:
    """Whether a word isn't a stop word, a mark, a number or a mask."""
    return word.lower() not in STOP_WORDS and word != MASK and any(letter.isalpha() for letter in word)


def words_of(tokens: Iterable[Token]) -> Iterator[str]:
    """The words among tokens."""
    return (token for token in tokens if isinstance(token, str))


def tags_of(tokens: Iterable[Token]) -> frozenset[int]:
    """The tags among tokens."""
    return frozenset(tag for token in tokens if not isinstance(token, str) for tag in token)


def tag_baseline(record: Record) -> int:
    """Which answer has most different tags of the question; the first of several. It reads no word and no picture.

    Source: the VCR shortcut study's text-free baseline, which is right for 29 % of VCR's questions.
    """
    asked = tags_of(record["question"])
    return int(np.argmax([len(tags_of(option) & asked) for option in record["answer_choices"]]))


def word_baseline(record: Record, overlap: Overlap) -> int:
    """Which answer has most words and tags of the question (`Overlap.count`); the first of several."""
    keys = overlap.in_question(record)
    return int(np.argmax([overlap.count(option, keys) for option in record["answer_choices"]]))
