"""What a locked text tower said of a text, kept: it would say the same again."""

from __future__ import annotations

from collections.abc import Callable

import torch

MEMORY = 256 * 2**20
"""Bytes that are kept; texts past it are encoded each time."""


class TextMemo:
    """Token ids -> the feature row of a locked text tower.

    On a CPU a sentence encoder costs more than a small student's whole step, and captions come again each epoch. Texts
    are encoded one by one: a row then never depends, in its last bits, on which texts it shared a batch with, so a
    run that is taken up again with an empty memo gets the same numbers. On other devices nothing is kept.

    Args:
        encode: int64 [B, L] -> features [B, ...].
    """

    def __init__(self, encode: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._encode, self._bytes = encode, 0
        self._rows: dict[tuple[bytes, torch.dtype], torch.Tensor] = {}

    def __call__(self, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return features [B, ...] without graph; `dtype` is the tower's precision."""
        if tokens.device.type != "cpu" or len(tokens) == 0:
            return self._encode(tokens)
        return torch.stack([self._row(row, dtype) for row in tokens])

    def _row(self, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        key = (tokens.numpy().tobytes(), dtype)
        row = self._rows.get(key)
        if row is None:
            # A tensor made in inference mode could never enter a loss later.
            with torch.inference_mode(False), torch.no_grad():
                row = self._encode(tokens.clone()[None])[0]
            if self._bytes + row.nbytes <= MEMORY:
                self._bytes += row.nbytes
                self._rows[key] = row
        return row
