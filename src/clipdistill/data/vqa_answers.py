"""VQA's answers: the official processing of an answer, the vocabulary of answers, and soft targets against it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdistill.data.sources.annotations import read_json
from clipdistill.data.sources.base import existing
from clipdistill.data.sources.csv import read_text
from clipdistill.errors import UserError
from clipdistill.files import write_text

ANSWERS = 10
"""Answers a question has, from as many people."""

MIN_COUNT = 9
"""Questions that an answer must be the most given one of: that leaves 3,129 answers of VQA v2's train and val."""

_PUNCTUATION = (
    ";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!",
)  # fmt: skip
_NUMBERS = {"none": "0"} | {
    word: str(number) for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
_ARTICLES = frozenset(("a", "an", "the"))
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's I'd've I'm I've isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't
not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()
# Source: the words of the official table (GT-Vision-Lab/VQA, BSD); its entries are made again by the rule that it has:
# a word that lacks one of its apostrophes gets it back. One entry goes the other way, and "shes" and "lets" have none.
_RESTORED = {"somebody'd": "somebodyd"} | {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTIONS
    for place, letter in enumerate(word)
    if letter == "'"
}
_FULL_STOP = re.compile(r"(?!<=\d)\.(?!\d)")  # the official expression, whose "look-behind" isn't one
_COMMA_IN_NUMBER = re.compile(r"\d,\d")


def process_punctuation(text: str) -> str:
    """The official scorer's treatment of punctuation: a mark beside a space goes, another becomes a space.

    A full stop goes unless a digit follows; the official code passes a flag where a count is meant, so at most 32 go.
    """
    number = _COMMA_IN_NUMBER.search(text) is not None
    found = text
    for mark in _PUNCTUATION:
        beside = f"{mark} " in text or f" {mark}" in text
        found = found.replace(mark, "" if beside or number else " ")
    return _FULL_STOP.sub("", found, count=int(re.UNICODE))


def process_words(text: str) -> str:
    """The official scorer's treatment of words: lower case, numbers as digits, no articles, apostrophes restored."""
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_RESTORED.get(word, word) for word in words if word not in _ARTICLES)


def process_answer(text: str) -> str:
    """Both, and no commas: what the usual vocabulary is made of (Anderson et al. 2018, in their successors' code)."""
    return process_words(process_punctuation(text)).replace(",", "")


def make_vocabulary(most_given: Iterable[str], min_count: int = MIN_COUNT, most: int | None = None) -> tuple[str, ...]:
    """The answers, processed, that are the most given one of at least `min_count` questions; the most frequent first.

    most: keep no more than that many. Equal counts stand in alphabetical order.
    """
    counts = Counter(process_answer(answer) for answer in most_given)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(answer for answer, count in ranked if count >= min_count and answer)[:most]


def soft_targets(answers: Sequence[str], places: Mapping[str, int]) -> tuple[tuple[int, float], ...]:
    """(number in the vocabulary, score) of each answer given: 0.3 for one person of ten, 0.6, 0.9, and 1 from four on.

    The scores are what the official accuracy gives such an answer. Answers are looked up as they were given, as the
    usual code does; what isn't in the vocabulary gets no score.
    """
    counts = Counter(answers)
    return tuple(sorted((places[answer], score(count)) for answer, count in counts.items() if answer in places))


def score(count: int) -> float:
    """The official accuracy of an answer that `count` of ten people gave: the mean over leave-one-out nines."""
    return min(1.0, count * 3 / 10)


def load_vocabulary(paths: str | Sequence[str], min_count: int = MIN_COUNT) -> tuple[str, ...]:
    """Read an answer vocabulary.

    paths: a text file with an answer a line; JSON with a list of answers, or a mapping answer -> number; or one or more
    annotation files, of which the vocabulary is made (`make_vocabulary`).

    Raises:
        UserError: no such file, or none of these in it, or an answer twice.
    """
    files = [existing(path, "file of answers", "a text file with an answer a line") for path in _several(paths)]
    most_given: list[str] = []
    for file in files:
        content = read_json(file) if file.suffix.lower() == ".json" else read_text(file).splitlines()
        if isinstance(content, dict) and isinstance(content.get("annotations"), list):
            rows = [one for one in content["annotations"] if isinstance(one, dict) and one]
            most_given += [str(one.get("multiple_choice_answer", "")) for one in rows]
        elif len(files) > 1:
            raise UserError(f"{file}: no annotations in it; several files of answers must all be annotations")
        else:
            return _listed(file, content)
    found = make_vocabulary(most_given, min_count)
    if not found:
        raise UserError(f"{files[0]}: no answer is the most given one of {min_count} questions; lower 'min_count'")
    return found


def write_vocabulary(path: str | Path, answers: Sequence[str]) -> None:
    """Write an answer a line, for `load_vocabulary`."""
    write_text(path, "".join(f"{answer}\n" for answer in answers))


def _several(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def _listed(file: Path, content: Any) -> tuple[str, ...]:
    if isinstance(content, dict):
        numbers = list(content.values())
        if sorted(numbers, key=str) != sorted(range(len(content)), key=str):
            raise UserError(f"{file}: not a mapping of answers to the numbers 0 to {len(content) - 1}")
        content = sorted(content, key=content.__getitem__)
    if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
        raise UserError(f"{file}: neither a list of answers, a mapping answer -> number, nor annotations")
    answers = [one.strip() for one in content if one.strip()]
    twice = [answer for answer, count in Counter(answers).items() if count > 1]
    if not answers or twice:
        raise UserError(f"{file}: {f'answer {json.dumps(twice[0])} stands in it twice' if twice else 'no answers'}")
    return tuple(answers)
