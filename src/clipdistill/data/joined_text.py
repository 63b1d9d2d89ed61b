"""The parts of a question as one text, which a dual encoder reads: one behind the other, or as a statement (ours).

Its words can be found again in the parts, which is where a student has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from clipdistill.data.keywords import Word
from clipdistill.data.question_texts import PARTS, Parts
from clipdistill.data.tagged_text import NAMES, TaggedText

TeacherText = Literal["pair", "answer", "statement"]
"""What a dual encoder reads of an option: question and answer (and reason); the last of them alone; or what they say
together, as a sentence."""
_PRONOUNS = frozenset(("he", "she", "it", "they"))
_SECOND_NAME = re.compile(r"\s*,\s*([^,.;:?!]+?)\s*(?=[,.;:?!]|$)")
"""Behind a name, what stands between commas: "Casey, the purple diamond, ..."."""


class Piece(NamedTuple):
    """Characters from `start` of the text are those of `part` from `first`. part: empty = of none."""

    start: int
    part: str
    first: int


@dataclass(frozen=True)
class Joined:
    """One text of several parts.

    text: as it is encoded. plain: the same with names that stand for objects in lower case, so that they count as
    ordinary nouns and don't win by being names. pieces: where its characters come from, in order.
    """

    text: str
    plain: str
    pieces: tuple[Piece, ...]

    def place(self, word: Word) -> tuple[int, int, int] | None:
        """(number of the part in PARTS, start, end) of a word, its characters counted within the part; None = of
        no part."""
        piece = max(one for one in self.pieces if one.start <= word.start)
        if not piece.part:
            return None
        shift = piece.first - piece.start
        return PARTS.index(piece.part), word.start + shift, word.end + shift


def joined(parts: Parts) -> Joined:
    """Put the parts of a text together, with a space between."""
    return _together((name, part, 0, len(part.text)) for name, part in parts.items())


def last_part(parts: Parts) -> Joined:
    """The last part alone: the answer, or the reason."""
    name, part = list(parts.items())[-1]
    return joined({name: part})


def statement(parts: Parts) -> Joined:
    """What a question and an answer (and a reason) say together, as sentences: ours, beyond CLIP-TD.

    Whom or what an answer speaks of stands in its question: "What is behind Casey, the red star?" and "He is on sand."
    are "the red star is on sand.". So a name or a pronoun at the head of an answer or a reason becomes the name
    between commas that the question gives to its object; without one, a person is "a person" and any other object
    keeps its name. An answer with another head stands as it is, as does any text without a tag in its question.
    """
    question = parts.get("question")
    others = [(name, part) for name, part in parts.items() if name != "question"]
    if question is None or not question.tags or not others:
        return last_part(parts)

    def pieces() -> Iterator[tuple[str, TaggedText, int, int]]:
        for name, part in others:
            head = _head(part)
            if head:
                named, region = head
                tag = next((one for one in question.tags if region in (None, one.region)), None)
                if tag is not None:
                    yield _subject(question, tag.start, tag.end)
                    yield name, part, named, len(part.text)
                    continue
            yield name, part, 0, len(part.text)

    return _together(pieces())


READ_AS: dict[TeacherText, Callable[[Parts], Joined]] = {"pair": joined, "answer": last_part, "statement": statement}
"""How the parts become one text."""


def _head(part: TaggedText) -> tuple[int, int | None] | None:
    """Of a text that begins with a name or a pronoun: where it goes on, and the region; None for any other."""
    if part.tags and part.tags[0].start == 0:
        end, region = part.tags[0].end, part.tags[0].region
    else:
        word = re.match(r"\w+", part.text)
        if word is None or word.group().lower() not in _PRONOUNS:
            return None
        end, region = word.end(), None
    second = _SECOND_NAME.match(part.text, end)
    if second and part.text[second.end() :].startswith(","):
        end = second.end() + 1
    while part.text[end : end + 1] == " ":
        end += 1
    return end, region


def _subject(question: TaggedText, start: int, end: int) -> tuple[str, TaggedText, int, int]:
    second = _SECOND_NAME.match(question.text, end)
    if second:
        return "question", question, second.start(1), second.end(1)
    if question.text[start:end] in NAMES:
        return "", TaggedText("a person"), 0, len("a person")
    return "question", question, start, end


def _together(cuts: Iterable[tuple[str, TaggedText, int, int]]) -> Joined:
    """Characters `first` to `last` of each part in turn, with a space between."""
    text, plain = "", ""
    pieces: list[Piece] = []
    for name, part, first, last in cuts:
        lead = " " if text else ""
        pieces.append(Piece(len(text) + len(lead), name, first))
        text += lead + part.text[first:last]
        lowered = part.text
        for tag in part.tags:
            lowered = lowered[: tag.start] + lowered[tag.start : tag.end].lower() + lowered[tag.end :]
        plain += lead + lowered[first:last]
    return Joined(text, plain, tuple(pieces))
