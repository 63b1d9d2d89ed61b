"""Hugging Face text towers of types that open_clip has no entry for (DistilBERT, MPNet, ...)."""

from __future__ import annotations

from typing import Any

from open_clip.hf_configs import arch_dict
from open_clip.hf_model import _POOLERS, HFTextEncoder
from torch import nn


class AnyTextTower(HFTextEncoder):  # type: ignore[misc]  # open_clip has no types
    """open_clip's Hugging Face text encoder for any encoder that `AutoModel` knows: same parts, same names.

    Args:
        name: hub name or local folder with `config.json`; the weights are random.
        output_dim: D, the width of the embedding.
        pooler_type, proj_type: as in open_clip's `text_cfg`.
    """

    def __init__(self, name: str, output_dim: int, pooler_type: str, proj_type: str) -> None:
        from transformers import AutoConfig, AutoModel

        nn.Module.__init__(self)
        self.output_tokens = False
        self.output_dim = output_dim
        self.config = AutoConfig.from_pretrained(name)
        model = AutoModel.from_config(self.config)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # never used: the tokens are pooled here
        self.transformer = model.encoder if getattr(self.config, "is_encoder_decoder", False) else model
        self.vocab_size = getattr(self.config, "vocab_size", 0)
        self.context_length = getattr(self.config, "max_position_embeddings", 0)
        self.pooler = _POOLERS[pooler_type]()
        width = int(self.config.hidden_size)
        if proj_type == "mlp":
            hidden = (width + output_dim) // 2
            self.proj: nn.Module = nn.Sequential(
                nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, output_dim, bias=False)
            )
        else:
            self.proj = nn.Linear(width, output_dim, bias=False)


def known_to_open_clip(name: str) -> bool:
    """Say whether open_clip's own text encoder can hold this tower."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(name).model_type in arch_dict


def text_tower(text_cfg: dict[str, Any], embed_dim: int) -> AnyTextTower:
    """Make the tower that open_clip's `text_cfg` describes."""
    return AnyTextTower(
        text_cfg["hf_model_name"],
        embed_dim,
        text_cfg.get("hf_pooler_type", "mean_pooler"),
        text_cfg.get("hf_proj_type", "mlp"),
    )
