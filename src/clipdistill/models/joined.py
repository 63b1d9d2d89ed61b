"""JoinedEncoder: any timm image tower and any Hugging Face text tower, joined by projections (locked-image tuning)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clipdistill.errors import UserError
from clipdistill.models.building import attach_preprocess, build_clip, full_preprocess
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.joined_parts import (
    check_spec,
    context_length,
    fill_image_tower,
    fill_text_tower,
    joined_config,
    timm_preprocess,
)
from clipdistill.models.text_memo import TextMemo
from clipdistill.models.tokenisation import TextTokenizer, make_tokenizer


class JoinedEncoder(DualEncoder):
    """A DualEncoder whose towers come from elsewhere.

    Inside it is open_clip's CustomTextCLIP with a timm and a Hugging Face tower, so it is saved, opened and evaluated
    like every other model, and the saved folder opens in open_clip too. Open_clip looks for the text tower's
    configuration under the name in `open_clip_config.json`: on the hub, or, for a tower from a local folder, in
    `text_tower/` below the working directory (so: from inside the saved folder). `load_model` has no such condition.

    The towers can be locked while the projections are trained (LiT, arXiv:2111.07991), or one of them while the other
    trains along. Since locked towers always give the same features, `image_tower_features` and `text_tower_features`
    can be computed once and kept: `encode_image(x)` equals `project_image(image_tower_features(x))`, and so for text.

    Args:
        spec: what to join:
            `image_tower`, a timm model name; `image_weights`, a local file of its weights (safetensors or pickle), the
            word `pretrained` for timm's own from the hub, or None for random ones;
            `text_tower`, a local transformers folder or a hub name;
            `embed_dim` (256); `projection`, `linear` (default) or `mlp`; `pooling` of the text tokens, `mean` over the
            text (default) or `first`; `image_size` (the tower's own); `context_length` (64, or as
            many as the text tower has positions); `init_logit_scale` (log(1/0.07)) and `init_logit_bias` (none).
        name: what reports call it; `image_tower+text_tower` when not given.

    Raises:
        UserError: a wrong field, an unknown timm name, files that are missing or don't fit.
    """

    FEATURES = (*DualEncoder.FEATURES, "tower")

    def __init__(self, spec: Mapping[str, Any], *, name: str | None = None) -> None:
        check_spec(spec)
        name = name or f"{spec['image_tower']}+{Path(str(spec['text_tower'])).name}"
        model_cfg = joined_config(spec)
        clip: Any = build_clip(model_cfg, name)
        preprocess = full_preprocess(clip, timm_preprocess(clip.visual.trunk))
        attach_preprocess(clip, preprocess)
        fill_image_tower(clip.visual.trunk, spec)
        fill_text_tower(clip.text.transformer, str(spec["text_tower"]))
        text_cfg = model_cfg["text_cfg"]
        text_cfg["context_length"] = context_length(clip.text.context_length, spec)
        tokenizer = make_tokenizer(text_cfg, name)
        if tokenizer.special_ids()["pad"] != clip.text.config.pad_token_id:
            raise UserError(f"text_tower: {spec['text_tower']}: pad_token_id differs between config.json and tokenizer")
        config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
        super().__init__(clip, name=name, config=config, tokenizer=tokenizer)
        self._start_unlocked()
        self.eval()

    @classmethod
    def around(cls, clip: nn.Module, *, name: str, config: dict[str, Any], tokenizer: TextTokenizer) -> JoinedEncoder:
        """Wrap an open_clip CustomTextCLIP that has a timm and a Hugging Face tower already."""
        model = cls.__new__(cls)
        DualEncoder.__init__(model, clip, name=name, config=config, tokenizer=tokenizer)
        model._start_unlocked()
        return model.eval()

    def _start_unlocked(self) -> None:
        self.image_locked = self.text_locked = False
        self._text_memo = TextMemo(self._encode_text_tower)

    def lock_towers(self, *, image: bool = True, text: bool = True) -> None:
        """Freeze the towers, statistics of batch norms and dropout included; the projections stay trainable.

        image, text: which of them; the other is unlocked.
        """
        self.image_locked, self.text_locked = image, text
        self._text_memo = TextMemo(self._encode_text_tower)
        self.clip.visual.trunk.requires_grad_(not image)
        self.clip.text.transformer.requires_grad_(not text)
        self.train(self.training)

    def unlock_towers(self) -> None:
        """Undo `lock_towers`."""
        self.lock_towers(image=False, text=False)

    def train(self, mode: bool = True) -> JoinedEncoder:
        """Set training mode; locked towers stay in evaluation mode."""
        super().train(mode)
        if self.image_locked:
            self.clip.visual.trunk.eval()
        if self.text_locked:
            self.clip.text.transformer.eval()
        return self

    def image_tower_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the image tower's pooled features [B, F], before the projection; without graph when locked."""
        with torch.no_grad() if self.image_locked else nullcontext():
            features: torch.Tensor = self.clip.visual.trunk(self.normalise_pixels(pixels))
        return features

    def text_tower_features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the text tower's pooled features [B, C], before the projection; without graph when locked."""
        if not self.text_locked:
            return self._encode_text_tower(tokens)
        with torch.no_grad():
            return self._text_memo(tokens, next(self.clip.text.transformer.parameters()).dtype)

    def _encode_text_tower(self, tokens: torch.Tensor) -> torch.Tensor:
        text = self.clip.text
        mask = (tokens != text.config.pad_token_id).long()
        if tokens.device.type == "cpu" and len(tokens):
            # Positions that are padding in every text change nothing and take most of the time.
            used = mask.any(dim=0).nonzero()
            longest = int(used[-1]) + 1 if len(used) else 1
            tokens, mask = tokens[:, :longest], mask[:, :longest]
        features: torch.Tensor = text.pooler(text.transformer(input_ids=tokens, attention_mask=mask), mask)
        return features

    def project_image(self, features: torch.Tensor) -> torch.Tensor:
        """Project image tower features [B, F] to embeddings [B, D]."""
        embeddings: torch.Tensor = self.clip.visual.head(features)
        return embeddings

    def project_text(self, features: torch.Tensor) -> torch.Tensor:
        """Project text tower features [B, C] to embeddings [B, D]."""
        embeddings: torch.Tensor = self.clip.text.proj(features)
        return embeddings

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `DualEncoder.encode_image`."""
        return self.project_image(self.image_tower_features(pixels))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `DualEncoder.encode_text`."""
        return self.project_text(self.text_tower_features(tokens))


def create_joined(spec: Mapping[str, Any], *, name: str | None = None) -> JoinedEncoder:
    """Join towers as `spec` says; see `JoinedEncoder`."""
    return JoinedEncoder(spec, name=name)
