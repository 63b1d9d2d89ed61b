"""A model's attention over questions: switched to the implementation that has weights, reduced layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipdistill.analysis.importance import (
    SPECIAL,
    ImportanceOptions,
    attention_shares,
    kind_counts,
    modality_importance,
    token_kinds,
)
from clipdistill.data.question_texts import OPTIONS, Reads
from clipdistill.errors import UserError
from clipdistill.evaluate.suites.fusion_answers import Pairs
from clipdistill.models.fusion import FusionInputs, fusion_inputs

SPECIALS = ("cls_token_id", "sep_token_id", "mask_token_id", "pad_token_id")
"""A word that isn't in the vocabulary ([UNK]) is a word."""
LABELS = {"answers": "answer_label", "rationales": "rationale_label"}


@dataclass(frozen=True)
class Importance:
    """Modality importance of one model on N questions.

    Attributes:
        ids: of the questions.
        values: float32 [N, L, H, 3]: of each layer and head text and vision, and the share of the special tokens as it
            is, whichever way they are counted.
        tokens: mean number of words, special tokens and regions of a pair.
    """

    ids: tuple[str, ...]
    values: np.ndarray
    tokens: tuple[float, float, float]

    @property
    def heads(self) -> np.ndarray:
        """Mean over the questions, float64 [L, H, 3]."""
        found: np.ndarray = self.values.mean(axis=0, dtype=np.float64)
        return found

    def of(self, ids: list[str]) -> Importance:
        """Of some of the questions, in that order."""
        places = {one: place for place, one in enumerate(self.ids)}
        return Importance(tuple(ids), self.values[[places[one] for one in ids]], self.tokens)


def special_ids(tokenizer: Any) -> set[int]:
    """Numbers of a BERT vocabulary's marks."""
    return {int(number) for name in SPECIALS if (number := getattr(tokenizer, name)) is not None}


@contextmanager
def reading(model: Any, device: torch.device) -> Iterator[None]:
    """In evaluation mode and full precision, with the attention that has weights; as it came when the block ends."""
    was_training, attention = model.training, model.attention
    model.to(device).train(False)
    model.set_attention("eager")
    try:
        with torch.inference_mode():
            yield
    finally:
        model.set_attention(attention)
        model.train(was_training)


def without_attention(model: Any) -> str | None:
    """Why no attention over words and regions can be looked at, in a sentence; None when it can."""
    if model.KIND != "fusion":
        return f"is a {model.KIND}, and no model that reads a text and a picture together; name a fusion model's run"
    if not hasattr(model, "watching"):
        return (
            f"'{model.name}' is an adapter on a frozen CLIP: it has no [CLS] whose attention goes to words and regions"
        )
    if model.sees == "nothing":
        return f"'{model.name}' sees no picture, so all of its attention is the text's"
    return None


def read_importance(pairs: Pairs, reads: Reads, options: ImportanceOptions) -> Importance:
    """Modality importance of all questions of `pairs`. Weights are reduced a layer at a time and never kept.

    Raises:
        UserError: the right pair is asked for and isn't known; no question could be read.
    """
    model, device = pairs.model, torch.device(pairs.job.device)
    marks = special_ids(model.tokenizer)
    values: list[np.ndarray] = []
    tokens: list[Tensor] = []
    with reading(model, device):
        for batch in pairs.batches():
            inputs = asked_pairs(pairs, batch, reads, options.pairs)
            questions = len(batch["sample"])
            found, counts = _layers(model, inputs, marks, options)
            tokens.append(counts.cpu())
            # [pairs, L, H, 3] -> the mean over a question's pairs
            values.append(found.unflatten(0, (questions, -1)).mean(dim=1).float().cpu().numpy())
    if not values:
        raise UserError("analyse: no picture of these questions can be read; look at `--data`")
    ids = tuple(pairs.own_id(pairs.mixture.ids[row]) for row in _places(pairs))
    mean = torch.cat(tokens).mean(dim=0).tolist()
    return Importance(ids, np.concatenate(values), (mean[0], mean[1], mean[2]))


def asked_pairs(pairs: Pairs, batch: Mapping[str, Any], reads: Reads, which: str) -> FusionInputs:
    """The right pair of each question of a batch, or all of them, a question's side by side."""
    inputs = fusion_inputs(batch, reads).to(pairs.job.device, next(pairs.model.parameters()).dtype)
    options = OPTIONS[reads]
    if which == "all" or not options:
        return inputs
    right = torch.tensor([right_option(pairs.mixture[place], reads) for place in batch["sample"].tolist()])
    return inputs[(torch.arange(len(right)) * options + right).to(inputs.ids.device)]


def right_option(sample: Any, reads: Reads) -> int:
    """The number of the right option; 0 where there is one text.

    Raises:
        UserError: it isn't known.
    """
    if reads not in LABELS:
        return 0
    label = sample.fields.get(LABELS[reads])
    if label is None:
        raise UserError(f"--pairs right: '{sample.id}' has no '{LABELS[reads]}'; give labelled data, or --pairs all")
    return int(label)


def _layers(model: Any, inputs: FusionInputs, marks: set[int], options: ImportanceOptions) -> tuple[Tensor, Tensor]:
    """Text, vision and special tokens' share of a batch of pairs, [B, L, H, 3], and their tokens, [B, 3]."""
    found: list[Tensor] = []
    counts: list[Tensor] = []

    def reduce(_layer: int, weights: Tensor) -> None:
        kinds = token_kinds(inputs, weights.shape[-1], marks)
        counts.append(kind_counts(kinds))
        shares = attention_shares(weights, kinds, options.queries)
        both = modality_importance(shares, counts[0], options)
        found.append(torch.cat([both, shares[..., SPECIAL, None]], dim=-1))

    with model.watching(reduce):
        model(inputs)
    return torch.stack(found, dim=1), counts[0]


def _places(pairs: Pairs) -> list[int]:
    """Where the answered questions stand in the mixture."""
    place = {row: number for number, row in enumerate(pairs.rows)}
    return [place[row] for row in pairs.answered]
