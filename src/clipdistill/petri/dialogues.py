"""Conversations about petri pictures in LLaVA's JSON: captions for its first stage, questions for its second.

Questions are balanced: among those of a kind no answer is said much more often than another, so that who always says
the same, or knows the kind alone, is right no more often than by chance.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clipdistill.petri.draws import Draws, stream
from clipdistill.petri.questions import PLACES, Asked, more_questions
from clipdistill.petri.scenes import SceneRules
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, SHAPES
from clipdistill.petri.writers import Picture

ROUNDS, TURNS = 4, 6
"""How often each kind of question is tried for a picture, and how many questions are kept at most."""
SLACK = 4
"""How much more often than the rarest answer of its kind one may have been said."""
ANSWERS: dict[str, tuple[str, ...]] = {
    "presence": ("yes", "no"), "how many things": ("1", "2", "3", "4"), "how many of a colour": ("0", "1", "2"),
    "colour": tuple(COLOURS), "shape": SHAPES, "place": PLACES, "background": tuple(BACKGROUNDS),
}  # fmt: skip
"""Kind -> its answers, each of which comes about equally often. Of relations every pair has about the same chance."""
SHORT = "Answer the question using a single word or phrase."
DESCRIBE: tuple[str, ...] = (
    "<image>\ndescribe the picture briefly.", "<image>\nwhat do you see?", "what is in this picture?\n<image>",
    "describe what you see in short.\n<image>",
)  # fmt: skip


def balanced_questions(rules: SceneRules, pictures: Iterable[Picture]) -> list[tuple[Picture, tuple[Asked, ...]]]:
    """Questions about each picture, up to `TURNS`, whose answers are balanced over the pictures so far.

    What is kept of a picture depends on the ones before it and on none behind.
    """
    said: Counter[tuple[str, str]] = Counter()
    found = []
    for picture in pictures:
        kept: list[Asked] = []
        for asked in more_questions(rules, picture.scene, ROUNDS):
            kind, answer = sort_of(asked), asked.answers[0]
            known = ANSWERS.get(kind)
            if len(kept) == TURNS or known is not None and answer not in known:
                continue
            if known is not None and said[kind, answer] >= min(said[kind, one] for one in known) + SLACK:
                continue
            said[kind, answer] += 1
            kept.append(asked)
        found.append((picture, tuple(kept)))
    return found


def sort_of(asked: Asked) -> str:
    """The kind among whose questions answers are balanced: how many things there are is one of its own."""
    if asked.kind != "count":
        return asked.kind
    return "how many things" if asked.text == "how many things are there?" else "how many of a colour"


def write_llava(folder: Path, split: str, pictures: Sequence[tuple[Picture, Sequence[Asked]]]) -> None:
    """Write captions_{split}.json, a conversation a caption, and questions_{split}.json, a conversation a picture.

    Pictures' names are relative to the world's images/. As in LLaVA's mix the first question alone says how to answer.
    """
    captions: list[dict[str, Any]] = []
    dialogues: list[dict[str, Any]] = []
    for picture, asked in pictures:
        draws = Draws(stream("describe", picture.scene.grain, picture.scene.key()))
        for number, caption in enumerate(picture.captions):
            turns = _turns([(DESCRIBE[draws.integer(len(DESCRIBE))], caption)])
            captions.append(
                {"id": f"{picture.number:06d}-{number}", "image": picture.file_name, "conversations": turns}
            )
        if not asked:
            continue
        pairs = [(one.text, one.answers[0]) for one in asked]
        pairs[0] = (f"<image>\n{pairs[0][0]}\n{SHORT}", pairs[0][1])
        dialogues.append({"id": f"{picture.number:06d}", "image": picture.file_name, "conversations": _turns(pairs)})
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("captions", captions), ("questions", dialogues)):
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        (folder / f"{name}_{split}.json").write_text(text + "\n", encoding="utf-8")


def _turns(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    sides = ("human", "gpt")
    return [{"from": side, "value": text} for pair in pairs for side, text in zip(sides, pair, strict=True)]
