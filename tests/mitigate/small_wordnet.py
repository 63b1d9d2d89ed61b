"""A hand-made WordNet of a few senses, in the real format: index.POS, data.POS, POS.exc with byte offsets."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

LICENCE = "  1 This is no WordNet but a few lines in its format, for tests.  \n  2 A licence stands here, indented.  \n"
LETTERS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


class Sense(NamedTuple):
    """A synset: its name here, words as the data writes them, pointers, and how often it is seen in tagged texts."""

    name: str
    words: tuple[str, ...]
    pointers: tuple[tuple[str, str], ...] = ()
    tagged: int = 1


SENSES: dict[str, list[Sense]] = {
    "noun": [
        Sense("entity", ("entity",)),
        Sense("animal", ("animal",), (("@", "entity"),)),
        Sense("canine", ("canine", "canid"), (("@", "animal"),)),
        Sense("dog", ("dog",), (("@", "canine"),)),
        Sense("sausage", ("dog",), (("@", "entity"),), 0),  # a later sense of dog
        Sense("goose", ("goose",), (("@", "bird"),)),
        Sense("bird", ("bird", "Aves"), (("@", "animal"),)),
        Sense("light", ("stoplight", "traffic_light"), (("@", "entity"),)),
        Sense("lamp", ("light",), (("@", "entity"),)),
        Sense("traffic", ("traffic",), (("@", "entity"),)),
        Sense("plant", ("red_dog",), (("@", "entity"),), 0),  # never seen in tagged texts
        Sense("city", ("Paris",), (("@i", "entity"),)),
        Sense("fist", ("fist",), (("@", "hand"),)),
        Sense("hand", ("fist", "hand"), (("@", "fist"),)),
        Sense("run", ("run",), (("@", "entity"),)),
    ],
    "verb": [
        Sense("move", ("move", "go"), (), 2),
        Sense("run", ("run", "scat"), (("@", "move"),), 2),
        Sense("travel", ("travel",), ()),
        Sense("pick_up", ("pick_up", "lift_out"), (("@", "take"),)),
        Sense("take", ("take",), ()),
        Sense("pick", ("pick",), ()),
        Sense("dog", ("dog",), (("@", "take"),), 0),
        Sense("hold", ("hold", "take_hold"), ()),
        Sense("jump", ("leap", "jump"), ()),
    ],
    "adj": [
        Sense("red", ("red", "reddish(p)"), (("&", "colourful"),), 2),
        Sense("colourful", ("colourful",), (("&", "red"),)),
        Sense("happy", ("happy",), (("&", "glad"),)),
        Sense("glad", ("glad",), (("&", "happy"),)),
        Sense("good", ("good",), ()),
        Sense("bad", ("bad",), (("&", "nasty"),)),
        Sense("nasty", ("awful", "nasty"), ()),
    ],
    "adv": [Sense("quickly", ("quickly", "rapidly"), ())],
}
EXCEPTIONS = {
    "noun": {"geese": "goose"},
    "verb": {
        "ran": "run", "running": "run", "leapt": "leap", "took": "take", "taken": "take", "went": "go", "gone": "go",
        "held": "hold",
    },
    "adj": {"better": "good", "best": "good", "worse": "bad", "worst": "bad"},
    "adv": {},
}  # fmt: skip


def write_wordnet(folder: Path) -> Path:
    """Write the twelve files into `folder`."""
    folder.mkdir(parents=True)
    for part, senses in SENSES.items():
        offsets = _offsets(part, senses)
        data = LICENCE + "".join(_data_line(sense, part, offsets) for sense in senses)
        (folder / f"data.{part}").write_bytes(data.encode())
        (folder / f"index.{part}").write_text(LICENCE + "".join(_index_lines(part, senses, offsets)))
        exceptions = sorted(EXCEPTIONS[part].items())
        (folder / f"{part}.exc").write_text("".join(f"{form} {lemma}\n" for form, lemma in exceptions))
    return folder


def _offsets(part: str, senses: list[Sense]) -> dict[str, int]:
    found, place = {}, len(LICENCE)
    for sense in senses:
        found[sense.name] = place
        place += len(_data_line(sense, part, {one.name: 0 for one in senses}).encode())
    return found


def _data_line(sense: Sense, part: str, offsets: dict[str, int]) -> str:
    words = " ".join(f"{word} 0" for word in sense.words)
    letter = LETTERS[part]
    pointers = " ".join(f"{symbol} {offsets[to]:08d} {letter} 0000" for symbol, to in sense.pointers)
    frames = " 01 + 02 00" if part == "verb" else ""
    head = f"{offsets[sense.name]:08d} 03 {letter} {len(sense.words):02x} {words} {len(sense.pointers):03d}"
    return f'{head}{" " if pointers else ""}{pointers}{frames} | what it means; "café"  \n'


def _index_lines(part: str, senses: list[Sense], offsets: dict[str, int]) -> list[str]:
    lemmas: dict[str, list[Sense]] = {}
    for sense in senses:
        for word in sense.words:
            lemmas.setdefault(word.partition("(")[0].lower(), []).append(sense)
    lines = []
    for lemma, found in sorted(lemmas.items()):
        symbols = sorted({symbol for sense in found for symbol, _ in sense.pointers})
        numbers = " ".join(f"{offsets[sense.name]:08d}" for sense in found)
        marks = "".join(f"{one} " for one in symbols)
        count, tagged = len(found), max(sense.tagged for sense in found)
        lines.append(f"{lemma} {LETTERS[part]} {count} {len(symbols)} {marks}{count} {tagged} {numbers}  \n")
    return lines
