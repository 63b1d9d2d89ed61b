"""A small reader of WordNet's own files: lemmas of a word, the words of a sense, and what they are kinds of.

`index.POS`, `data.POS` and `POS.exc` of a dict folder, or of the zip that NLTK has, as wndb(5) describes them. Offsets
are of bytes. Nothing else is read: Debian's folder lacks `lexnames` and `index.sense`, which NLTK's reader needs.
WordNet's licence (Princeton) allows any use; nothing of it is in this package.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from clipdistill.errors import UserError

PartOfSpeech = Literal["noun", "verb", "adj", "adv"]
PARTS: tuple[PartOfSpeech, ...] = ("noun", "verb", "adj", "adv")
FOLDERS = (
    "/usr/share/wordnet",
    "/usr/share/wordnet/dict",
    "/usr/local/share/wordnet/dict",
    "/usr/local/WordNet-3.0/dict",
)
GET = (
    "get it with `apt install wordnet-base`, or as NLTK's data: `python -m nltk.downloader wordnet`; another folder is "
    "named by --wordnet or $WNSEARCHDIR"
)
_ENDINGS: dict[PartOfSpeech, tuple[tuple[str, str], ...]] = {
    "noun": (
        ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
        ("ies", "y"),
    ),
    "verb": (
        ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip
"""Morphy's rules of detachment, in its order."""


class Synset(NamedTuple):
    """A sense: its words in WordNet's order ("ice_cream"), and synsets it points to, by symbol ("@" = is a kind of)."""

    offset: int
    part: PartOfSpeech
    words: tuple[str, ...]
    pointers: tuple[tuple[str, int, str], ...]


class Entry(NamedTuple):
    """A lemma as a part of speech: its senses, most frequent first, and how many of them were seen in tagged text."""

    offsets: tuple[int, ...]
    tagged: int


class WordNet:
    """The files of a dict folder or of a zip with one in it. See `open_wordnet`.

    Raises:
        UserError: a file is missing or isn't WordNet's.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._index = {part: self._read_index(part) for part in PARTS}
        self._exceptions = {part: self._read_exceptions(part) for part in PARTS}
        self._forms = {part: _reversed(found) for part, found in self._exceptions.items()}
        self._data = {part: self._bytes(f"data.{part}") for part in PARTS}
        self.synset = cache(self._synset)
        self.lemmas = cache(self._lemmas)

    def entry(self, lemma: str, part: PartOfSpeech) -> Entry | None:
        """Senses of a lemma ("ice cream" or "ice_cream"); None when it has none."""
        line = self._index[part].get(lemma.lower().replace(" ", "_"))
        if line is None:
            return None
        words = line.split()
        pointers, senses = int(words[3]), int(words[2])
        rest = words[4 + pointers :]  # senses once more, of them tagged, offsets
        return Entry(tuple(int(one) for one in rest[2 : 2 + senses]), int(rest[1]))

    def _lemmas(self, word: str, part: PartOfSpeech) -> tuple[str, ...]:
        """What `word` is a form of, morphy's way: exceptions, else itself and what is left without an ending; those in
        the index only, nearest first."""
        form = word.lower().replace(" ", "_")
        known = self._exceptions[part].get(form, ())
        found = [*known, form] if known else [form, *self._detached(form, part)]
        return tuple(dict.fromkeys(one for one in found if one in self._index[part]))

    def irregular(self, lemma: str, part: PartOfSpeech) -> tuple[str, ...]:
        """Forms of a lemma that the exceptions name, in their order: "take" -> "taken", "took"."""
        return self._forms[part].get(lemma, ())

    def _synset(self, offset: int, part: PartOfSpeech) -> Synset:
        data = self._data[part]
        fields = data[offset : data.find(b"\n", offset)].decode("utf-8", "replace").partition("|")[0].split()
        try:
            count = int(fields[3], 16)
            words = tuple(
                fields[4 + 2 * each].partition("(")[0] for each in range(count)
            )  # "high(p)" says where it stands
            start = 4 + 2 * count
            pointers = tuple(
                (fields[at], int(fields[at + 1]), fields[at + 2])
                for at in range(start + 1, start + 1 + 4 * int(fields[start]), 4)
            )
            if int(fields[0]) != offset:
                raise ValueError
        except (IndexError, ValueError):
            raise UserError(
                f"{self.place}: data.{part} has no synset at byte {offset}; it isn't of this index"
            ) from None
        return Synset(offset, part, words, pointers)

    def kinds(self, synset: Synset) -> list[Synset]:
        """What a sense is a kind or an instance of; of an adjective without any, what it is similar to."""
        up = [self.synset(offset, _part(pos)) for symbol, offset, pos in synset.pointers if symbol in ("@", "@i")]
        if up or synset.part != "adj":
            return up
        return [self.synset(offset, _part(pos)) for symbol, offset, pos in synset.pointers if symbol == "&"]

    @staticmethod
    def _detached(form: str, part: PartOfSpeech) -> Iterator[str]:
        if part == "noun" and form.endswith("ful"):
            yield from (f"{stem}ful" for stem in WordNet._detached(form[:-3], part))
            return
        if part == "noun" and (form.endswith("ss") or len(form) <= 2):
            return
        for ending, instead in _ENDINGS[part]:
            if form.endswith(ending) and len(form) > len(ending):
                yield form[: len(form) - len(ending)] + instead

    def _read_index(self, part: PartOfSpeech) -> dict[str, str]:
        lines = self._bytes(f"index.{part}").decode("utf-8", "replace").splitlines()
        found = {line.partition(" ")[0]: line for line in lines if line and line[0] != " "}  # the licence is indented
        if not found or any(len(line.split()) < 7 for line in list(found.values())[:4]):
            raise UserError(f"{self.place}: index.{part} isn't WordNet's; {GET}")
        return found

    def _read_exceptions(self, part: PartOfSpeech) -> dict[str, tuple[str, ...]]:
        lines = (line.split() for line in self._bytes(f"{part}.exc").decode("utf-8", "replace").splitlines())
        return {words[0]: tuple(words[1:]) for words in lines if len(words) > 1}

    def _bytes(self, name: str) -> bytes:
        try:
            if self.place.is_dir():
                return (self.place / name).read_bytes()
            with zipfile.ZipFile(self.place) as archive:
                inside = next(one for one in archive.namelist() if one.rpartition("/")[2] == name)
                return archive.read(inside)
        except (OSError, StopIteration, KeyError, zipfile.BadZipFile):
            raise UserError(f"{self.place}: has no WordNet file {name}; {GET}") from None


def open_wordnet(folder: str | Path | None = None) -> WordNet:
    """Open WordNet in `folder` (or a zip), else where it is found.

    Looked for in $WNSEARCHDIR, $WNHOME/dict, Debian's folder and usual others, and NLTK's corpora/wordnet (folder or
    zip) in $NLTK_DATA and its usual places.

    Raises:
        UserError: none is found, or a file in it is missing; says how to get it.
    """
    if folder is not None:
        return WordNet(Path(os.path.expandvars(os.path.expanduser(str(folder)))))
    place = find_wordnet()
    if place is None:
        raise UserError(f"WordNet isn't on this machine; {GET}")
    return WordNet(place)


def find_wordnet() -> Path | None:
    """The first place where WordNet is, a folder or a zip."""
    return next((place for place in places() if place.is_file() or (place / "index.noun").is_file()), None)


def places() -> list[Path]:
    """Where WordNet is looked for, in order."""
    found = [Path(os.environ["WNSEARCHDIR"])] if os.environ.get("WNSEARCHDIR") else []
    found += [Path(os.environ["WNHOME"]) / "dict"] if os.environ.get("WNHOME") else []
    found += [Path(one) for one in FOLDERS]
    nltk = [Path(one) for one in os.environ.get("NLTK_DATA", "").split(os.pathsep) if one]
    nltk += [Path("~/nltk_data").expanduser(), Path("/usr/share/nltk_data"), Path("/usr/local/share/nltk_data")]
    return found + [base / "corpora" / name for base in nltk for name in ("wordnet", "wordnet.zip")]


def _reversed(exceptions: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for form, lemmas in exceptions.items():
        for lemma in lemmas:
            found[lemma] = (*found.get(lemma, ()), form)
    return found


def _part(letter: str) -> PartOfSpeech:
    return {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}[letter]  # type: ignore[return-value]
