"""Which words of a text are distilled: CLIP-TD's token selection (section 3.1.2, equations 5 and 6), word by word.

A teacher's tokens and a student's are cut differently, so both are pooled over words, which are found by characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipdistill.data.draws import integer
from clipdistill.data.joined_text import Joined
from clipdistill.data.keywords import Word, importance
from clipdistill.objectives.targeted import top_words, word_scores

Selection = Literal["scores", "random"]


def pooled_words(words: Sequence[Word], tokens: Tensor, mask: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """The mean of each word's tokens.

    Args:
        tokens [L, D], mask bool [L], True = a real token; spans: the characters of each.

    Returns:
        [W, D]; NaN for a word without any token, such as one behind the teacher's last.
    """
    if not words:
        return tokens.new_zeros(0, tokens.shape[1])
    starts, ends = torch.tensor(spans, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
    first, last = torch.tensor([(word.start, word.end) for word in words]).unbind(dim=1)
    real = (mask & (ends > starts))[None]
    own = (real & (starts[None] < last[:, None]) & (first[:, None] < ends[None])).to(tokens.dtype)
    return own @ tokens / own.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class Chosen:
    """The words of a text that were chosen, best first: which of its words, and their scores float32 [n]."""

    places: list[int]
    scores: list[float]


def choose_words(
    text: Joined,
    words: Sequence[Word],
    there: Sequence[bool],
    image: Tensor,
    alone: Tensor,
    count: int,
    selection: Selection = "scores",
    seed: int = 0,
    key: tuple[str | int, ...] = (),
) -> Chosen:
    """Choose `count` words of a text.

    Args:
        words: `words_of(text.plain)`. there: which of them the teacher has tokens of, and stand in a part.
        image: its embedding of the picture, [D]. alone: its embedding of each word for itself, [W, D].
        selection: by `scores`, or `random`, the control, by hash of `seed` and `key`.

    Only words that can be keywords are chosen, so that no stop word or mark wins by a rounding error; a text that has
    fewer gives fewer.
    """
    candidates = torch.tensor(
        [word.content and here for word, here in zip(words, there, strict=True)], dtype=torch.bool
    )
    relevance = normalize(alone.double(), dim=-1) @ normalize(image.double(), dim=-1)
    important = torch.tensor(importance(text.plain), dtype=torch.float64)
    scores = word_scores(relevance, important, torch.ones_like(candidates))
    ranks = scores
    if selection == "random":
        ranks = torch.tensor(
            [integer(2**52, seed, "random words", *key, place) for place in range(len(words))]
        ).double()
    places = top_words(ranks, candidates, count).tolist()
    return Chosen(places, [float(scores[place]) for place in places])
