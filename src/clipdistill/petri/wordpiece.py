"""A WordPiece vocabulary of the petri world's words, in BERT's layout, for fusion models."""

from __future__ import annotations

import re
import string
from pathlib import Path

from clipdistill.files import write_json, write_text
from clipdistill.petri.tokenizer import corpus
from clipdistill.petri.vocabulary import SHAPES

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Words of questions, answers, rationales and hypotheses about petri pictures, beside those of captions and prompts.
_MORE_WORDS = (
    "a an the and or but because so that this these those it its they them he she his her who whom whose why how when "
    "where which what is are was were be been do does did has have had can could will would may might must not no yes "
    "zero one two three four five six seven eight nine ten more less fewer than same different only also just there "
    "here any all some none every both either neither each other another many much few question answer true false "
    "thing things object objects shape shapes colour colours color colors size sizes pattern patterns background left "
    "right top bottom middle centre center corner side above below over under beside near next between behind front "
    "picture image photo scene person people word choose most likely probably maybe casey riley jessie jackie else "
    "whereabouts heavy old wooden soft warm new"
)


def vocabulary() -> list[str]:
    """Every token, in the order of its number: special ones, then single characters, then words by spelling.

    A character also stands as "##x", the inside of a word, so that any text of printable ASCII has its tokens.
    """
    words = {word for text in corpus() for word in re.findall(r"[a-z]+|[^a-z\s]", text.lower())}
    words |= set(_MORE_WORDS.split())
    words |= {shape + ("es" if shape.endswith("s") else "s") for shape in SHAPES}
    characters = string.ascii_lowercase + string.digits + string.punctuation
    inside = [f"##{each}" for each in string.ascii_lowercase + string.digits]
    whole = sorted(words - set(characters))
    return [*SPECIAL, *characters, *inside, *whole]


def write_wordpiece(folder: str | Path) -> list[str]:
    """Write the vocabulary into `folder` as `transformers.BertTokenizer` opens it; returns the files' names."""
    folder = Path(folder)
    write_text(folder / "vocab.txt", "\n".join(vocabulary()) + "\n")
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "BertTokenizer", **names, "do_lower_case": True, "model_max_length": 512},
    )
    return ["vocab.txt", "tokenizer_config.json"]
