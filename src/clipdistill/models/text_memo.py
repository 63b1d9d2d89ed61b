"""What a locked text tower said of a text, kept: it would say the same again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from clipdistill.models.token_embeddings import real_tokens, token_embeddings

MEMORY = 256 * 2**20
"""Bytes that are kept; texts past it are encoded each time."""


class TextMemo:
    """Token ids -> the feature row of a locked text tower.

    On a CPU a text tower costs more than a small student's whole step, and texts come again each epoch. They are
    encoded `together` at a time, a short block filled up with its last text: the shapes are then always the same, and a
    row doesn't depend, in its last bits, on which texts it shared a batch with. So a run that is taken up again with an
    empty memo gets the same numbers. On other devices nothing is kept.

    Args:
        encode: int64 [B, L] -> features [B, ...].
        together: how many at a time; 1 where `encode` cuts texts to the longest of its batch.
    """

    def __init__(self, encode: Callable[[torch.Tensor], torch.Tensor], together: int = 1) -> None:
        self._encode, self._together, self._bytes = encode, together, 0
        self._rows: dict[tuple[bytes, torch.dtype, torch.dtype | None], torch.Tensor] = {}

    def __call__(self, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return features [B, ...] without graph; `dtype` is the tower's precision."""
        if tokens.device.type != "cpu" or len(tokens) == 0:
            return self._encode(tokens)
        mixed = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        keys = [(row.numpy().tobytes(), dtype, mixed) for row in tokens]
        found = {key: self._rows[key] for key in keys if key in self._rows}
        new = {key: place for place, key in enumerate(keys) if key not in found}
        for start in range(0, len(new), self._together):
            block = list(new)[start : start + self._together]
            places = [new[key] for key in block]
            found |= zip(
                block, self._encoded(tokens[places + places[-1:] * (self._together - len(block))]), strict=False
            )
        for key in new:
            if self._bytes + found[key].nbytes <= MEMORY:
                self._bytes += found[key].nbytes
                self._rows[key] = found[key]
        return torch.stack([found[key] for key in keys])

    def _encoded(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        # A tensor made in inference mode could never enter a loss later. Rows are copied: a view keeps its whole block.
        with torch.inference_mode(False), torch.no_grad():
            return [row.clone() for row in self._encode(tokens.clone())]


class TokenMemo:
    """`token_embeddings` of a frozen model, without graph; what a text says is kept, and asked once in a batch.

    Args:
        model: a DualEncoder in evaluation mode whose text tower doesn't change.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._memo = TextMemo(self._packed, together=16)

    @torch.no_grad()
    def __call__(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of int64 ids [B, L]: text [B, D], tokens [B, L, D], mask bool [B, L]."""
        texts, place = torch.unique(tokens, dim=0, return_inverse=True)
        found = self._memo(texts, next(self._model.parameters()).dtype)[place]
        return found[:, 0], found[:, 1:], real_tokens(self._model, tokens)

    def _packed(self, texts: torch.Tensor) -> torch.Tensor:
        text, tokens, _ = token_embeddings(self._model, texts)
        return torch.cat([text[:, None], tokens], dim=1)
