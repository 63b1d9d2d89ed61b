"""Fields of what a teacher said of questions, looked up in a store: targets, and the student's tokens that they are of.

The store is `stores.question_targets.QuestionTargets`, or whatever stands for it in a forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clipdistill.data.fields import Draw, Field
from clipdistill.data.fusion_fields import FusionTexts
from clipdistill.data.question_texts import PARTS, Reads, option_read
from clipdistill.data.sample import Sample

Place = tuple[str, int, int]


class TaughtPicture(Field):
    """`taught/image` float32 [B, D], and where the store has answers as prompts `taught/logits` [B, N].

    Args:
        store: of targets. rows: int64, the store's row of each sample of the data.
    """

    def __init__(self, store: Any, rows: np.ndarray) -> None:
        self.store, self.rows = store, rows

    def row(self, sample: Sample, draw: Draw) -> int:
        """Where the store has it."""
        return int(self.rows[draw.position])

    def collate(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Looked up together."""
        found = {"taught/image": torch.from_numpy(self.store.image(rows))}
        if self.store.meta["answers"]:
            found["taught/logits"] = torch.from_numpy(self.store.logits(rows))
        return found


class TaughtTexts(Field):
    """What the teacher said of a sample's texts, `taught/READS/...`; without options the axis O is left out.

    `text` float32 [B, O, D]; `words` float32 [B, O, m, D] of the m words that were chosen, `there` bool [B, O, m], True
    = a word; `tokens` bool [B, O, m, L], the student's tokens of each: those that share a character with it. A word
    that the student's text has lost to its limit isn't there.

    Args:
        texts: the student's field of the same texts. words: m, 0 = none.
        right: the student reads the right one alone (pretraining).
    """

    def __init__(
        self, store: Any, rows: np.ndarray, texts: FusionTexts, reads: Reads, words: int, right: bool = False
    ) -> None:
        self.store, self.rows, self.texts = store, rows, texts
        self.reads, self.words, self.right = reads, words, right

    def row(self, sample: Sample, draw: Draw) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
        """Of each option its text's target, its words' targets, which are there, and their tokens [m, L]."""
        row = int(self.rows[draw.position])
        options = [option_read(sample, self.reads)] if self.right else None
        text = self.store.texts(row, self.reads, options)
        words, places, there = self.store.words(row, self.reads, self.words, options)
        if not self.words:
            return text, words, there, [np.zeros((0, 0), bool)] * len(text)
        parts = self.texts.texts(sample)
        tokens = [
            own_tokens(self.texts.places(one), place, mask)
            for one, place, mask in zip(parts, places, there, strict=True)
        ]
        return text, words, there & np.stack([one.any(axis=1) for one in tokens]), tokens

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Padded to the longest."""
        longest = max(one.shape[1] for *_, tokens in rows for one in tokens)
        options = len(rows[0][3])
        mask = np.zeros((len(rows), options, self.words, longest), bool)
        for place, (*_, tokens) in enumerate(rows):
            for option, one in enumerate(tokens):
                mask[place, option, :, : one.shape[1]] = one
        found = {
            "text": torch.from_numpy(np.stack([text for text, *_ in rows])),
            "words": torch.from_numpy(np.stack([words for _, words, *_ in rows])),
            "there": torch.from_numpy(np.stack([there for _, _, there, _ in rows])),
            "tokens": torch.from_numpy(mask),
        }
        if self.right or not self.texts.options:
            found = {name: value[:, 0] for name, value in found.items()}
        return {f"taught/{self.reads}/{name}": value for name, value in found.items()}


def own_tokens(tokens: Sequence[Place], words: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which tokens stand for which words.

    Args:
        tokens: of each, the part and the characters that it covers. words: [m, 4], number of the part, start, end
            (and score). mask: bool [m].

    Returns:
        bool [m, L].
    """
    found = np.zeros((len(words), len(tokens)), bool)
    for place, (number, start, end, *_) in enumerate(words):
        if mask[place]:
            name = PARTS[int(number)]
            found[place] = [part == name and first < end and start < last for part, first, last in tokens]
    return found
