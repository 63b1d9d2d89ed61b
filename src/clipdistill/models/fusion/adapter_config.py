"""The sizes of adapters on CLIP, and those of CLIP-TD's table 11 by name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from clipdistill.models.fusion.config import HeadName


class AdapterConfig(BaseModel):
    """What decides an adapter's shapes, beside the CLIP's."""

    model_config = ConfigDict(extra="forbid")

    architecture: Literal["clip_adapter"] = "clip_adapter"
    fusion: Literal["concat", "cosine", "attention"]
    layers: int = Field(1, ge=1)
    """Linear layers, the answering one included (concat), or on each side (cosine); transformer layers (attention)."""
    attention_heads: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    heads: dict[HeadName, int] = {}


ADAPTERS: dict[str, dict[str, Any]] = {
    "clip-mlp-1-concat": {"fusion": "concat", "layers": 1},
    "clip-mlp-1-cosine": {"fusion": "cosine", "layers": 1},
    "clip-mlp-3-concat": {"fusion": "concat", "layers": 3},
    "clip-mlp-3-cosine": {"fusion": "cosine", "layers": 3},
    "clip-attention-1-concat": {"fusion": "attention", "layers": 1},
}
"""The rows of table 11 by name; a recipe writes `clip-mlp-3-concat:MODEL`, MODEL being any name of a CLIP."""
