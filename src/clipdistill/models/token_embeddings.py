"""A text's tokens in the shared embedding space, with the mask of the real ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def token_embeddings(model: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Embed texts and each of their tokens; the projection that makes the text's embedding is put on every token.

    Args:
        model: a DualEncoder.
        tokens: int64 ids [B, L].

    Returns:
        text [B, D], what `encode_text` gives; tokens [B, L, D]; mask bool [B, L], True for real tokens. For CLIP's
        text towers the row of the end-of-text token equals `text`, and what stands behind it is masked.
    """
    text, features = model.text_tokens(tokens)
    tower = getattr(model.clip, "text", None)
    if tower is not None and hasattr(tower, "pooler"):  # a Hugging Face tower
        return text, tower.proj(features), real_tokens(model, tokens)
    owner = model.clip if tower is None else tower
    projection = owner.text_projection
    if projection is not None:
        features = projection(features) if isinstance(projection, torch.nn.Module) else features @ projection
    return text, features, real_tokens(model, tokens)


def real_tokens(model: Any, tokens: Tensor) -> Tensor:
    """bool [B, L], True for what `token_embeddings` calls real tokens of int64 ids [B, L]."""
    tower = getattr(model.clip, "text", None)
    if tower is not None and hasattr(tower, "pooler"):
        found: Tensor = tokens != tower.config.pad_token_id
        return found
    position = torch.arange(tokens.shape[1], device=tokens.device)
    # The largest id is CLIP's end of text (its tokenizer's last entry); towers pooled elsewhere read all of the text.
    at_end = _pools_at_the_end(model.clip if tower is None else tower)
    last = tokens.argmax(dim=1) if at_end else (tokens != 0).sum(dim=1) - 1
    return position[None] <= last[:, None]


def _pools_at_the_end(owner: Any) -> bool:
    return str(getattr(owner, "text_pool_type", getattr(owner, "pool_type", "argmax"))) == "argmax"
