"""How MMMU finds the answer in what a model said: a letter, or texts and numbers.

Source: Yue et al. 2024 and their mmmu/utils/eval_utils.py; lmms-eval's copy of it, which differs in the letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from clipdistill.evaluate.vlm.base import LETTERS

WORDS = 5
"""An option's text is looked for only in an answer of more words than this."""
_ENDS = (",", ".", "!", "?", ";", ":", "'")
_MARKS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_THOUSANDS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_POWERS = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_PLAIN = re.compile(r"-?(?:\d*\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")


def parse_letter(said: str, options: Sequence[str], rule: str = "official") -> str:
    """The letter of the option that an answer names, the last one named where there are several; empty = none.

    In this order: "(A)"; "A" between spaces; in answers of more than 5 words, an option's whole text in any case.
    lmms_eval: "A" need only have a space behind it, so the end of a word counts ("USA "), and "A." is looked for before
    the texts; of several letters found so, the last that stands between spaces wins, or the first of the alphabet.
    """
    for end in _ENDS:
        said = said.strip(end)
    said = f" {said} "
    named = dict(zip(LETTERS, options, strict=False))
    forms = ["({})", " {} "] if rule == "official" else ["({})", "{} ", "{}."]
    for form in forms:
        found = [letter for letter in named if form.format(letter) in said]
        if found:
            # lmms-eval looks for the place between spaces whatever form was found; what isn't there is at -1.
            where = form if form == "({})" else " {} "
            return max(found, key=lambda letter: said.rfind(where.format(letter)))
    if len(said.split()) <= WORDS:
        return ""
    low = said.lower()
    texts = [letter for letter, text in named.items() if text.lower() in low]
    return max(texts, key=lambda letter: low.rfind(named[letter].lower()), default="")


def parse_open(said: str) -> list[str | float]:
    """The texts and numbers that an answer to an open question may mean, as `normalise_open` leaves them.

    Of each line, the shortest text behind one of a few words ("so", "is", "answer"; in the last line "=" too); where
    there is none in any line, the whole answer. Then each number in these texts.
    """
    whole = said.strip().strip(".").lower()
    # The authors also split at a full stop before a capital letter, but lower the case first, so only lines are split.
    lines, texts = whole.split("\n"), []
    for number, line in enumerate(lines):
        shortest = ""
        for mark in _MARKS + (("=",) if number == len(lines) - 1 else ()):
            if mark in line:
                tail = line.rsplit(mark, 1)[-1].strip()
                shortest = tail if not shortest or len(tail) < len(shortest) else shortest
        if shortest and shortest not in (*_ENDS,):
            texts.append(shortest)
    texts = texts or [whole]
    numbers = [one for text in texts for form in (_THOUSANDS, _POWERS, _PLAIN) for one in form.findall(text)]
    return list(dict.fromkeys(form for text in texts + numbers for form in normalise_open(text)))


def normalise_open(text: str) -> list[str | float]:
    """A number, rounded to two places; else the text in lower case, a single letter with a space before or after it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def open_is_right(said: str, gold: Sequence[str]) -> bool:
    """Whether a number of the answer equals a gold one, or a text of it contains a gold text."""
    wanted = [form for one in gold for form in normalise_open(one)]
    texts = [one for one in wanted if isinstance(one, str)]
    return any(
        any(text in one for text in texts) if isinstance(one, str) else one in wanted for one in parse_open(said)
    )
