"""What a look at a training's data says before the training: pictures that aren't there, captions that lose words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from clipdistill.data import Mixture
from clipdistill.errors import UserError

MOST_PICTURES = 2000
"""Pictures that are looked for, evenly over the data: a second on a disk, some on a network's."""

MOST_CAPTIONS = 2000
SHOWN = 20


def look_at(mixture: Mixture, tokenizer: Any, max_bad_share: float) -> Iterator[tuple[str, str]]:
    """Rows of the plan on what is wrong with the data, if anything: (what, said).

    Args:
        tokenizer: the student's: texts -> int64 [N, L]; None where it reads none.

    Raises:
        UserError: more pictures are missing than `data.max_bad_share` allows; names them, all at once.
    """
    samples = [mixture[int(row)] for row in evenly(len(mixture), MOST_PICTURES)]
    missing = [sample.id for sample in samples if sample.image.byte_size() < 0]
    if missing:
        names = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else "")
        said = f"{len(missing):,} of {len(samples):,} that were looked for aren't there: {names}"
        if len(missing) > max_bad_share * len(samples):
            raise UserError(f"pictures: {said}; more than data.max_bad_share = {max_bad_share:g}")
        yield "pictures", said
    texts = list(dict.fromkeys(text for sample in samples[:MOST_CAPTIONS] for text in sample.captions))[:MOST_CAPTIONS]
    if tokenizer is not None and texts:
        yield from _captions(texts, tokenizer)


def _captions(texts: Sequence[str], tokenizer: Any) -> Iterator[tuple[str, str]]:
    rows = np.asarray(tokenizer(list(texts)))
    longer = np.asarray(tokenizer([f"{text} {text}" for text in texts]))  # the same tokens: there was no room for more
    cut = int((rows == longer).all(axis=1).sum())
    lost = len(texts) - len(np.unique(rows, axis=0))
    said = []
    if cut:
        share = f"{100 * cut / len(texts):.0f} %" if cut >= len(texts) / 200 else f"{cut:,}"
        said.append(f"{share} of {len(texts):,} fill the student's {rows.shape[1]} tokens and lose what is behind")
    if lost:
        said.append(f"{lost:,} become the same tokens as another one")
    if said:
        yield "captions", "; ".join(said)


def evenly(count: int, most: int) -> np.ndarray:
    """Rows spread evenly over `count`, at most `most` of them."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)
