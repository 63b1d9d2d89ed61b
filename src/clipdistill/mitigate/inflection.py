"""Number and tense: which form of its lemma a word is, and the same form of another word.

One way for all: irregular forms are those of WordNet's exceptions, read backwards; others get the regular ending. No
other library is asked, so a file is the same on every machine that has the same WordNet.
"""

from __future__ import annotations

from typing import Literal

from clipdistill.data.wordnet import PartOfSpeech, WordNet

Form = Literal["base", "plural", "third", "ing", "past", "participle", "comparative", "superlative"]
AUXILIARIES = frozenset(
    "has have had having 's 've is are was were be been being am 're 'm gets get got getting".split()
)
_BEFORE_PARTICIPLES = frozenset("has have had having is are was were been being".split())
_VOWELS = "aeiou"
_PARTICIPLE_ENDINGS = ("n", "ne", "ung", "unk", "um", "un")  # taken, done, sung, drunk, swum, begun


def form_of(word: str, lemma: str, part: PartOfSpeech, before: str | None = None) -> Form:
    """The form of `lemma` that `word` is. Past and participle look alike (-ed): it is the participle behind a form of
    have or be or get.

    Args:
        before: the word in front of it, if there is one.
    """
    word, lemma = word.lower(), lemma.lower()
    if part == "verb" and word == lemma and before is not None and before.lower() in _BEFORE_PARTICIPLES:
        return "participle"  # "has run", "was cut"
    if word == lemma or part == "adv":
        return "base"
    if part == "noun":
        return "plural"
    if part == "adj":
        return "superlative" if word.endswith("st") else "comparative"
    if word.endswith("ing"):
        return "ing"
    if word.endswith("s"):
        return "third"
    return "participle" if before is not None and before.lower() in AUXILIARIES else "past"


def inflected(lemma: str, form: Form, part: PartOfSpeech, wordnet: WordNet) -> str:
    """`lemma` in a form. Of several words the last carries it ("ice creams"), of verbs the first ("picked up").

    `lemma` has spaces between its words.
    """
    if form == "base":
        return lemma
    words = lemma.split(" ")
    place = 0 if part == "verb" else -1
    words[place] = _one(words[place], form, part, wordnet)
    return " ".join(words)


def _one(lemma: str, form: Form, part: PartOfSpeech, wordnet: WordNet) -> str:
    known = wordnet.irregular(lemma.lower(), part)
    if form == "plural":
        return known[0] if known else _with_s(lemma)
    if form == "third":
        return next((one for one in known if one.endswith("s") and not one.endswith("ss")), _with_s(lemma))
    if form == "ing":
        return next((one for one in known if one.endswith("ing")), _stem(lemma, "ing") + "ing")
    if form in ("past", "participle"):
        pasts = [one for one in known if not one.endswith("ing") and not one.endswith("s")]
        done = [one for one in pasts if one.endswith(_PARTICIPLE_ENDINGS)]
        wanted = done if form == "participle" else [one for one in pasts if one not in done]
        return (wanted or pasts or [_past(lemma)])[0]
    return _compared(lemma, form, known)


def _compared(lemma: str, form: Form, known: tuple[str, ...]) -> str:
    ending = "er" if form == "comparative" else "est"
    found = next((one for one in known if one.endswith("st") == (form == "superlative")), None)
    if found is not None:
        return found
    syllables = sum(a in _VOWELS and b not in _VOWELS for a, b in zip(lemma, f"{lemma[1:]}.", strict=True))
    if syllables - lemma.endswith("e") > 1 or lemma[-1:] == "y" and syllables > 1:
        return f"{'more' if form == 'comparative' else 'most'} {lemma}"
    return _stem(lemma, ending) + ending


def _with_s(lemma: str) -> str:
    if lemma.endswith(("s", "x", "z", "ch", "sh")):
        return f"{lemma}es"
    return f"{lemma[:-1]}ies" if _consonant_y(lemma) else f"{lemma}s"


def _past(lemma: str) -> str:
    return f"{lemma[:-1]}ied" if _consonant_y(lemma) else _stem(lemma, "ed") + "ed"


def _stem(lemma: str, ending: str) -> str:
    """`lemma` before an ending that begins with a vowel: without its e, its last consonant doubled, y as i."""
    if lemma.endswith("ie") and ending == "ing":
        return f"{lemma[:-2]}y"
    if lemma.endswith("e") and not lemma.endswith(("ee", "oe", "ye")):
        return lemma[:-1]
    if lemma.endswith(("ee", "oe", "ye")) and ending != "ing":
        return lemma[:-1]
    if _consonant_y(lemma) and ending != "ing":
        return f"{lemma[:-1]}i"
    short = len(lemma) > 2 and lemma[-1] not in "aeiouwxy" and lemma[-2] in _VOWELS and lemma[-3] not in _VOWELS
    if short and sum(letter in _VOWELS for letter in lemma) == 1:
        return lemma + lemma[-1]
    return lemma


def _consonant_y(lemma: str) -> bool:
    return len(lemma) > 1 and lemma.endswith("y") and lemma[-2] not in _VOWELS
