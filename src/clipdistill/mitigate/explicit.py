"""Explicit mitigation (EM): what an answer shares with its question or its picture's labels is said in other words.

Source: CLIP-TD (2022), supplement 8.4: "We replace highly-frequent instances of unigrams and n-grams with synonyms and
hypernyms". It leaves most open; chosen here:

- All four answers are treated alike, so that being rewritten tells nothing. Rationales stay ("modify existing answer
  choices"), and so do tags.
- Every overlap counts, however rare: content words of an answer with a lemma of the question or of an object label
  (`overlap`). Stop words never change.
- An n-gram of 2 to 4 words that stands in the question or a label too is replaced as a whole if it is one of WordNet's
  that its tagged texts have ("traffic light", "picked up"), the longest first; else its content words, one by one.
- Part of speech: `reading`. Sense: the first, WordNet's most frequent. Replacement: the first of its synonyms, then of
  the words of what it is a kind of, then of what that is a kind of, that has no lemma in common with the question, the
  labels or the word itself, and no capital or digit in it. Adjectives without kinds take what they are similar to.
- The form stays: plural, tense, participle, -ing, comparison (`inflection`); a capital at the start; a or an before it.
- What has no replacement stays, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clipdistill.data.wordnet import PARTS, PartOfSpeech, Synset, WordNet
from clipdistill.mitigate.inflection import AUXILIARIES, form_of, inflected
from clipdistill.mitigate.overlap import Overlap, is_content, words_of
from clipdistill.mitigate.vcr_files import Change, Outcome, Record, Token

LONGEST = 4
STEPS_UP = 2
LIST = "answer_choices"
_DETERMINERS = frozenset(
    "a an the this that these those his her its their my your our some any no two three four".split()
)
_MODALS = frozenset("will would shall should can could may might must do does did".split())
_SUBJECTS = frozenset("he she they i we you it who".split())


class Reading(NamedTuple):
    """A word, or several, taken as a form of `lemma`."""

    lemma: str
    part: PartOfSpeech


class Explicit:
    """The rule EM over a WordNet. `unreplaced` counts the shared words that had no replacement."""

    def __init__(self, wordnet: WordNet) -> None:
        self.wordnet, self.overlap = wordnet, Overlap(wordnet)
        self.unreplaced: Counter[str] = Counter()

    def __call__(self, one: str, record: Record) -> Outcome:
        """Rewrite the four answers."""
        made, changes = dict(record), []
        texts = [record["question"], *([*label.split()] for label in record["objects"])]
        shared = {lemma for text in texts for word in words_of(text) for lemma in self.overlap.content(word)}
        made[LIST] = []
        for number, option in enumerate(record[LIST]):
            new, found = self._option(option, texts, frozenset(shared))
            made[LIST].append(new)
            changes += [Change(one, LIST, number, *each) for each in found]
        return Outcome(made, changes)

    def _option(
        self, option: list[Token], texts: Sequence[list[Token]], shared: frozenset[str]
    ) -> tuple[list[Token], list[tuple[int, list[Token], list[Token], str]]]:
        new: list[Token] = []
        changes = []
        place = 0
        while place < len(option):
            length, reading = self._unit(option, place, texts, shared)
            if reading is None:
                new.append(option[place])
                place += 1
                continue
            words = [str(word) for word in option[place : place + length]]
            found = self._instead(words, reading, option[place - 1] if place else None, shared)
            if found is None:
                self.unreplaced[" ".join(words).lower()] += 1
                new += option[place : place + length]
            else:
                text, why = found
                instead: list[Token] = [*(text[:1].upper() + text[1:] if words[0][0].isupper() else text).split(" ")]
                start, before = place, list(option[place : place + length])
                article = _article(new[-1] if new else None, text)
                if article is not None:
                    start, before, instead = place - 1, [new.pop(), *before], [article, *instead]
                changes.append((start, before, instead, why))
                new += instead
            place += length
        return new, changes

    def _unit(
        self, option: list[Token], place: int, texts: Sequence[list[Token]], shared: frozenset[str]
    ) -> tuple[int, Reading | None]:
        """How many words from `place` on are replaced together, and as what; None = the word there stays."""
        for length in range(min(LONGEST, len(option) - place), 1, -1):
            words = [word for word in option[place : place + length] if isinstance(word, str)]
            if len(words) == length and any(map(is_content, words)) and self._stands_in(words, texts):
                reading = self._collocation(words)
                if reading is not None:
                    return length, reading
        word = option[place]
        name = isinstance(word, str) and place > 0 and word[:1].isupper()
        if not isinstance(word, str) or name or not self.overlap.content(word) & shared:
            return 1, None
        before, after = (
            one if isinstance(one, str) else None
            for one in (option[place - 1] if place else None, option[place + 1] if place + 1 < len(option) else None)
        )
        return 1, self.reading(word, before, after)

    def _stands_in(self, words: Sequence[str], texts: Sequence[list[Token]]) -> bool:
        """Whether words of these lemmas stand one behind the other in one of the texts."""
        wanted = [self.overlap.lemmas(word) for word in words]
        for text in texts:
            have = [self.overlap.lemmas(token) if isinstance(token, str) else frozenset() for token in text]
            for start in range(len(have) - len(wanted) + 1):
                if all(a & b for a, b in zip(wanted, have[start:], strict=False)):
                    return True
        return False

    def _collocation(self, words: Sequence[str]) -> Reading | None:
        """Several words as one of WordNet's, a noun inflected at its end or a verb at its start.

        Only those that its tagged texts have: others are mostly chance, a blue star is no plant.
        """
        for lemma in self.wordnet.lemmas(words[-1], "noun"):
            whole = " ".join([*words[:-1], lemma]).lower()
            if self._seen(whole, "noun"):
                return Reading(whole, "noun")
        for lemma in self.wordnet.lemmas(words[0], "verb"):
            whole = " ".join([lemma, *words[1:]]).lower()
            if self._seen(whole, "verb"):
                return Reading(whole, "verb")
        return None

    def reading(self, word: str, before: str | None, after: str | None) -> Reading:
        """The lemma and part of speech of a word, by its neighbours and then by WordNet's counts.

        In turn: an adjective in front of a noun or "one"; a noun behind an article, possessive, number or adjective; a
        verb behind a pronoun, as it is behind a modal or do, and in -ing or -ed behind an auxiliary; else what has most
        senses seen in WordNet's tagged texts. A word that WordNet doesn't have is a noun, and won't be replaced.
        """
        found = {part: lemmas[0] for part in PARTS if (lemmas := self.wordnet.lemmas(word, part))}
        if not found:
            return Reading(word.lower(), "noun")
        ahead = (before or "").lower()
        noun_follows = after is not None and (
            after in ("one", "ones") or is_content(after) and bool(self.wordnet.lemmas(after, "noun"))
        )
        if "adj" in found and noun_follows:
            return Reading(found["adj"], "adj")
        bent = word.lower().endswith(("ing", "ed"))
        described = not bent and is_content(ahead) and bool(self.wordnet.lemmas(ahead, "adj"))
        if "noun" in found and (ahead in _DETERMINERS or described) and not noun_follows:
            return Reading(found["noun"], "noun")
        plain = word.lower() == found.get("verb")
        acts = ahead in _SUBJECTS or (plain and ahead in _MODALS) or (bent and ahead in AUXILIARIES)
        if "verb" in found and acts:
            return Reading(found["verb"], "verb")
        part = max(found, key=lambda part: self._seen(found[part], part))
        return Reading(found[part], part)

    def _seen(self, lemma: str, part: PartOfSpeech) -> int:
        """How many senses of a lemma WordNet's tagged texts have."""
        entry = self.wordnet.entry(lemma, part)
        return entry.tagged if entry else 0

    def _instead(
        self, words: list[str], reading: Reading, before: Token | None, shared: frozenset[str]
    ) -> tuple[str, str] | None:
        """Other words in the same form, and why these; None = there are none."""
        entry = self.wordnet.entry(reading.lemma, reading.part)
        if entry is None:
            return None
        avoided = shared | {reading.lemma} | {lemma for word in words for lemma in self.overlap.content(word)}
        sense = self.wordnet.synset(entry.offsets[0], reading.part)
        changed = words[0] if reading.part == "verb" else words[-1]
        base = reading.lemma.split(" ")[0 if reading.part == "verb" else -1]
        form = form_of(changed, base, reading.part, before if isinstance(before, str) else None)
        for word, relation in self._candidates(sense):
            if word != word.lower() or any(letter.isdigit() for letter in word):
                continue
            if any(self.overlap.content(part) & avoided for part in word.split(" ")) or word in avoided:
                continue
            return inflected(word, form, reading.part, self.wordnet), f"{relation} of '{reading.lemma}'"
        return None

    def _candidates(self, sense: Synset) -> Iterator[tuple[str, str]]:
        yield from ((word.replace("_", " "), "synonym") for word in sense.words)
        level = [sense]
        for _ in range(STEPS_UP):
            level = [up for one in level for up in self.wordnet.kinds(one)]
            yield from ((word.replace("_", " "), "hypernym") for one in level for word in one.words)


def _article(before: Token | None, text: str) -> str | None:
    """The article that `text` asks for, if another stands before it."""
    if not isinstance(before, str) or before.lower() not in ("a", "an"):
        return None
    wanted = "an" if text[0].lower() in "aeiou" else "a"
    wanted = wanted.capitalize() if before[0].isupper() else wanted
    return None if wanted == before else wanted
