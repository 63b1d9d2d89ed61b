"""Modality importance: how much of the attention goes to a text and how much to its picture.

Source: Cao et al. (2020), as CLIP-TD uses it in section 8.5: of each head the sum of the attention weights from [CLS]
to the tokens of a modality. No division by the number of tokens, so the larger modality tends to have more.

Attention mass isn't influence: what a token adds to the output also depends on its value vector and on everything
behind it. `analysis.ablation` measures influence.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from clipdistill.models.fusion import FusionInputs

WORD, SPECIAL, REGION = 0, 1, 2
KINDS = 3
PADDING = -1


class ImportanceOptions(BaseModel):
    """How attention is counted; the defaults are the reading of CLIP-TD's figures in docs/clip-td.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pairs: Literal["right", "all"] = "right"
    """of a question with options: the pair of question and right answer, or the mean over all of its pairs"""
    special: Literal["text", "out", "renormalised"] = "text"
    """[CLS], [SEP], [MASK] and VL-BERT's [END]: they are text; or left out; or left out, and what words and regions get
    is divided by its sum"""
    tokens: Literal["sum", "mean"] = "sum"
    """over the tokens of a modality; `mean` asks what a token gets, whatever their number"""
    queries: Literal["cls", "all"] = "cls"
    """whose attention: [CLS]'s, or the mean over all tokens"""


def token_kinds(inputs: FusionInputs, length: int, special: Collection[int]) -> Tensor:
    """Which kind each position of a fusion model's sequence is.

    Args:
        inputs: B pairs of L words and M regions. length: S of the sequence: L + M, or one more for VL-BERT's [END].
        special: numbers of the vocabulary's special tokens.

    Returns:
        int64 [B, S]: WORD, SPECIAL, REGION or PADDING. Words that carry a region's feature are words.
    """
    marks = torch.tensor(sorted(special), dtype=inputs.ids.dtype, device=inputs.ids.device)
    words = torch.where(torch.isin(inputs.ids, marks), SPECIAL, WORD)
    words = torch.where(inputs.text_mask, words, PADDING)
    regions = torch.where(inputs.region_mask, REGION, PADDING)
    behind = words.new_full((len(words), length - words.shape[1] - regions.shape[1]), SPECIAL)
    return torch.cat([words, regions, behind], dim=1)


def attention_shares(weights: Tensor, kinds: Tensor, queries: Literal["cls", "all"] = "cls") -> Tensor:
    """What of a layer's attention goes to each kind of token.

    Args:
        weights: [B, H, S, S], rows summing to 1 over what isn't padding. kinds: int64 [B, S].

    Returns:
        float64 [B, H, 3], by WORD, SPECIAL and REGION; padding neither asks nor is counted.
    """
    own = torch.stack([kinds == kind for kind in range(KINDS)], dim=-1).double()  # [B, S, 3]
    return torch.einsum("bhs,bsk->bhk", asked_attention(weights, kinds, queries).double(), own)


def asked_attention(weights: Tensor, kinds: Tensor, queries: Literal["cls", "all"]) -> Tensor:
    """What [CLS], or the mean of all tokens that aren't padding, attends to: [B, H, S, S] -> [B, H, S]."""
    if queries == "cls":
        return weights[:, :, 0]
    real = (kinds != PADDING).to(weights.dtype)
    return torch.einsum("bhqs,bq->bhs", weights, real / real.sum(dim=1, keepdim=True))


def modality_importance(shares: Tensor, counts: Tensor, options: ImportanceOptions) -> Tensor:
    """Importance of text and of vision.

    Args:
        shares: [B, H, 3] of `attention_shares`. counts: [B, 3], tokens of each kind.

    Returns:
        [B, H, 2], text and vision. With the defaults they add up to 1. A modality without tokens has 0.
    """
    text, vision = shares[..., WORD], shares[..., REGION]
    texts, regions = counts[:, None, WORD], counts[:, None, REGION]
    if options.special == "text":
        text, texts = text + shares[..., SPECIAL], texts + counts[:, None, SPECIAL]
    elif options.special == "renormalised":
        whole = (text + vision).clamp_min(torch.finfo(shares.dtype).tiny)
        text, vision = text / whole, vision / whole
    if options.tokens == "mean":
        text, vision = text / texts.clamp_min(1), vision / regions.clamp_min(1)
    return torch.stack([text, vision], dim=-1)


def kind_counts(kinds: Tensor) -> Tensor:
    """Tokens of each kind: int64 [B, S] -> float64 [B, 3]."""
    return torch.stack([(kinds == kind).sum(dim=1) for kind in range(KINDS)], dim=-1).double()
