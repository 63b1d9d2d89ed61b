"""Captions for a diffusion model: its own tokenizer, and what its frozen text encoder said of each, kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MEMO_BYTES = 2**30
"""Conditioning that is kept: 4,500 captions of Stable Diffusion v1 in float32, every caption of a small model."""


class PromptTokenizer:
    """transformers' CLIP tokenizer as a diffusers pipeline calls it: padded and cut to the text encoder's length.

    Attributes:
        inner: the transformers tokenizer.
        context_length: number of token positions L.
        tokenizer_key: equal keys mean that every text gives equal token ids.
    """

    def __init__(self, inner: Any, context_length: int) -> None:
        self.inner = inner
        self.context_length = context_length
        described = [context_length, inner.pad_token_id, sorted(inner.get_vocab().items())]
        self.tokenizer_key = "prompt-" + hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

    def __call__(self, texts: list[str]) -> Tensor:
        """Return token ids, int64 [B, L]."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            return torch.zeros(0, self.context_length, dtype=torch.int64)
        found = self.inner(
            texts, padding="max_length", max_length=self.context_length, truncation=True, return_tensors="pt"
        )
        ids: Tensor = found.input_ids
        return ids.to(torch.int64)


class ConditionMemo:
    """Token ids -> the conditioning of a frozen text encoder, computed once a caption.

    On a CPU captions are encoded one by one, so that a row never depends, in its last bits, on which captions it shared
    a batch with, and a resumed run that starts with an empty memo gets the same numbers.

    Args:
        encode: int64 [B, L] -> [B, L, C].
        limit: bytes that are kept; captions past it are encoded each time.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], limit: int = MEMO_BYTES) -> None:
        self._encode = encode
        self._limit = limit
        self._rows: dict[bytes, Tensor] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget everything: weights, precision or device changed."""
        self._rows.clear()
        self._bytes = 0

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return [B, L, C] without graph."""
        keys = [row.tobytes() for row in tokens.cpu().numpy()]
        first = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self._rows}
        missing = sorted(first.values())
        fresh: dict[bytes, Tensor] = {}
        # A tensor made in inference mode could never enter a loss later.
        # Autocast is off: what is kept must not depend on who asked first.
        plain = torch.autocast(tokens.device.type, enabled=False)
        with torch.inference_mode(False), torch.no_grad(), plain:
            step = 1 if tokens.device.type == "cpu" else max(len(missing), 1)
            for start in range(0, len(missing), step):
                places = missing[start : start + step]
                rows = self._encode(tokens[places].clone())
                fresh |= {keys[place]: row.clone() for place, row in zip(places, rows, strict=True)}
        found = torch.stack([self._rows[key] if key in self._rows else fresh[key] for key in keys])
        for key, row in fresh.items():
            if self._bytes + row.nbytes <= self._limit:
                self._rows[key] = row
                self._bytes += row.nbytes
        return found
