"""Features of image patches and of text tokens, tower by tower, beside the pooled embedding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def image_token_features(visual: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run an open_clip image tower.

    Args:
        visual: open_clip's VisionTransformer, ModifiedResNet or TimmModel.
        pixels: normalised, [B, 3, H, W].

    Returns:
        pooled [B, D]; tokens [B, N, C]. For CoCa's pooled towers the tokens are its learnt queries.
    """
    if hasattr(visual, "trunk"):
        return _timm(visual, pixels)
    if hasattr(visual, "attnpool"):
        found = visual.forward_intermediates(pixels, indices=1)
        grid = found["image_intermediates"][-1]
        return found["image_features"], grid.flatten(2).transpose(1, 2)
    with _with_tokens(visual):
        pooled, tokens = visual(pixels)
    return pooled, tokens


def text_token_features(clip: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run an open_clip text tower: token ids [B, L] -> pooled [B, D], tokens [B, L, C]."""
    text = getattr(clip, "text", None)
    if text is None:  # the plain CLIP class keeps the parts of its text tower itself
        found = clip.forward_intermediates(
            text=tokens, text_indices=1, normalize=False, normalize_intermediates=True, text_output_fmt="NLC"
        )
        return found["text_features"], found["text_intermediates"][-1]
    if hasattr(text, "pooler"):  # a Hugging Face encoder; open_clip's own switch drops the class token
        mask = (tokens != text.config.pad_token_id).long()
        output = text.transformer(input_ids=tokens, attention_mask=mask)
        return text.proj(text.pooler(output, mask)), output.last_hidden_state
    with _with_tokens(text):
        pooled, features = text(tokens)
    return pooled, features


def _timm(visual: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    trunk = visual.trunk
    features = trunk.forward_features(pixels)
    pooled = visual.head(trunk.forward_head(features))
    if features.ndim == 4:
        if getattr(trunk, "output_fmt", "NCHW") == "NHWC":
            return pooled, features.flatten(1, 2)
        return pooled, features.flatten(2).transpose(1, 2)
    return pooled, features[:, getattr(trunk, "num_prefix_tokens", 0) :]


@contextmanager
def _with_tokens(tower: Any) -> Iterator[None]:
    before = tower.output_tokens
    tower.output_tokens = True
    try:
        yield
    finally:
        tower.output_tokens = before
