"""What a fusion model answers with: a head a question, each of the shape that the authors gave it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from clipdistill.models.fusion.config import FusionConfig, HeadName
from clipdistill.models.fusion.embeddings import EPS

Reads = Literal["pooled", "mask", "text", "objects"]


class Head(nn.Module):
    """(dropout, or linear, activation and LayerNorm), then the output.

    Args:
        width: of what it reads. out: how many numbers it gives. between: of the hidden layer, 0 = none.
        activation: "gelu" (exact) or "relu". norm: whether a LayerNorm follows the hidden layer.
        dropout: before the output. reads: where.
        tied: the output's matrix is another part's (words: the word embeddings; region features: the input projection,
            transposed); only the bias is the head's own.
    """

    def __init__(
        self, width: int, out: int, *, between: int = 0, activation: str = "gelu", norm: bool = True,
        dropout: float = 0.0, reads: Reads = "pooled", tied: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.reads, self.outputs = reads, out
        self.hidden = nn.Linear(width, between) if between else None
        self.activation = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.norm = nn.LayerNorm(between, eps=EPS) if between and norm else None
        self.dropout = nn.Dropout(dropout)
        if tied:
            self.bias = nn.Parameter(torch.zeros(out))
        else:
            self.out = nn.Linear(between or width, out)

    def forward(self, given: Tensor, matrix: Tensor | None = None) -> Tensor:
        """[..., width] -> [..., outputs]; `matrix` [outputs, hidden] of a tied head."""
        if self.hidden is not None:
            given = self.activation(self.hidden(given))
        if self.norm is not None:
            given = self.norm(given)
        given = self.dropout(given)
        found: Tensor = self.out(given) if matrix is None else linear(given, matrix, self.bias)
        return found


def make_head(name: HeadName, outputs: int, config: FusionConfig) -> Head:
    """A head by name.

    UNITER and BERT: `vcr` (two numbers an option: wrong, right), `vqa` and `snli_ve` read the pooled vector through a
    hidden layer of twice the width, with ReLU for VCR and GELU else. VL-BERT: `vcr` (one number an option) and, since
    the authors have none, `snli_ve` alike, are dropout and a linear layer on the pooled vector; `vqa` reads the [MASK]
    that stands for the answer. Pretraining heads: `words`, `region_features` (UNITER's output matrix is its input
    projection transposed; VL-BERT, whose authors don't regress features, has its own), `region_classes`, `matching`.
    """
    width, uniter = config.width, config.architecture != "vl_bert"
    if name == "words":
        return Head(width, config.vocabulary, between=width, reads="text", tied=True)
    if name == "region_features":
        return Head(width, config.region_width, between=width, reads="objects", tied=uniter)
    if name == "region_classes":
        return Head(width, outputs, between=width, norm=uniter, reads="objects")
    if name == "matching":
        return Head(width, 2)
    if name == "exchanged":
        return Head(width, 2, between=width, reads="text")
    if uniter:
        return Head(width, outputs, between=2 * width, activation="relu" if name == "vcr" else "gelu")
    if name == "vqa":
        return Head(width, outputs, between=width, dropout=config.dropout, reads="mask")
    return Head(width, outputs, dropout=config.dropout)
