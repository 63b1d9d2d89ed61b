"""ARO's order tasks: a caption among itself and four shuffles of its words (COCO-Order, Flickr30K-Order).

The authors' code makes the shuffles when it runs, two of them with spaCy's part-of-speech tags. Those captions are read
from a file here. Without it the two shuffles that need no tagger are made from the annotations, under another name.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from clipdistill.evaluate.compositional.groups import Group, Part, Picture, wins
from clipdistill.evaluate.compositional.pictures import WHO, need_pictures
from clipdistill.evaluate.rows import json_rows

ORDERS = {"coco": "coco_karpathy_test.json", "flickr30k": "flickr30k_test.json"}
HOW = (
    "put the annotations and pictures that the ARO authors' code reads there, or the JSON of its data set's "
    '`test_cases`, a list of {"image": ..., "caption_options": [true, false, ...]}'
)
MAX_WORDS = 30


def order_parts(folder: Path) -> list[Part]:
    """COCO-Order of `coco/` and Flickr30K-Order of `flickr30k/`, as far as they are there."""
    parts = []
    for name, official in ORDERS.items():
        root = folder / name
        made = root / f"{name}_order.json"
        if made.is_file():
            parts.append(Part("aro", f"aro/{name}_order", read_order(made, root), HOW, measure_order))
        elif (root / official).is_file():
            groups = read_trigrams(root / official, root)
            parts.append(Part("aro", f"aro/{name}_order_trigrams", groups, HOW, measure_order))
    return parts


def read_order(file: str | Path, images: str | Path) -> list[Group]:
    """Read perturbed captions: rows of `image` (below `images`) and `caption_options`, the true one first."""
    file, images = Path(file), need_pictures(Path(images), HOW)
    return [
        Group((_picture(row, images),), row.texts("caption_options", 2), (), f"{file.stem}/{number}")
        for number, row in enumerate(json_rows(file, HOW, WHO))
    ]


def read_trigrams(file: str | Path, images: str | Path) -> list[Group]:
    """Read the annotations (`image`, `caption`: a list of texts); each caption beside its two trigram shuffles."""
    file, images = Path(file), need_pictures(Path(images), HOW)
    groups = []
    for number, row in enumerate(json_rows(file, HOW, WHO)):
        for place, caption in enumerate(row.texts("caption", 1)):
            key = f"{file.stem}/{number}/{place}"
            options = tuple(clean(text) for text in (caption, *trigram_shuffles(caption, key)))
            groups.append(Group((_picture(row, images),), options, (), key))
    return groups


def _picture(row: Any, images: Path) -> Picture:
    return Picture(str(images / row.text("image")), where=row.where("image"))


def trigram_shuffles(caption: str, key: str) -> tuple[str, str]:
    """Return the caption with the words shuffled within each three, and with the threes shuffled.

    A pure function of caption and key. Words and marks are told apart by a regular expression where the authors' code
    uses NLTK's tokenizer, and the draws are ours.
    """
    words = re.findall(r"\w+(?:[-']\w+)*|[^\w\s]", caption)
    threes = [words[i : i + 3] for i in range(0, len(words), 3)]
    draw = random.Random(f"order\0{key}")
    within = [draw.sample(three, len(three)) for three in threes]
    among = draw.sample(threes, len(threes))
    return _joined(within), _joined(among)


def _joined(threes: list[list[str]]) -> str:
    return " ".join(word for three in threes for word in three)


def clean(caption: str) -> str:
    """A caption as the authors' code gives it to the model: lower case, some marks removed, at most 30 words."""
    words = re.sub(r"[.!\"()*#:;~]", " ", caption.lower()).split()
    return " ".join(words[:MAX_WORDS])


def measure_order(groups: Sequence[Group], scores: Sequence[Tensor]) -> tuple[dict[str, float], dict[str, Any]]:
    """`accuracy` as the authors count it, by argmax with ties going to the true caption; `accuracy_strict`: ties fail.

    A shuffle may give the caption itself back, which the strict count calls wrong whatever the model does;
    `unchanged` says for how many items that is so.
    """
    right = sum(bool(s[0, 0] >= s[0].max()) for s in scores)
    strict = sum(map(wins, scores))
    unchanged = sum(group.captions[0] in group.captions[1:] for group in groups)
    total = max(1, len(scores))
    return {"accuracy": right / total, "accuracy_strict": strict / total}, {"unchanged": unchanged}
