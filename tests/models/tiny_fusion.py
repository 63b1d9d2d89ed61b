"""Tiny fusion models and batches, for tests in several folders."""

from __future__ import annotations

from typing import Any

import torch

from clipdistill.models.fusion import FusionInputs, FusionModel, create_fusion

TINY = {"width": 16, "layers": 2, "attention_heads": 2, "hidden": 24, "positions": 24, "region_width": 6}
HEADS = {
    "uniter": {
        "vcr": 2, "snli_ve": 3, "vqa": 5, "words": 0, "region_features": 0, "region_classes": 4, "matching": 2,
    },
    "vl_bert": {
        "vcr": 1, "snli_ve": 3, "vqa": 5, "words": 0, "region_features": 0, "region_classes": 4, "matching": 2,
    },
    "bert": {"vcr": 2, "snli_ve": 3, "vqa": 5, "words": 0},
}  # fmt: skip
ARCHITECTURES = ("uniter", "vl_bert")


def tiny_config(architecture: str, **changes: Any) -> dict[str, Any]:
    own: dict[str, Any] = {
        "uniter": {"types": 4}, "vl_bert": {"types": 3, "coordinates": 3, "visual_scale": 0.5}, "bert": {"types": 2},
        "clip_vil": {"types": 4},
    }[architecture]  # fmt: skip
    common = {"architecture": architecture, "vocabulary": 312, "spread": 0.3, "heads": HEADS.get(architecture, {})}
    return {**TINY, **own, **common, **changes}


def tiny_fusion(architecture: str, seed: int = 0, **changes: Any) -> FusionModel:
    """Every weight is drawn, biases and LayerNorms too, so that none of them could be left out unseen; float64."""
    changes.setdefault("tokenizer", True)
    attention = changes.pop("attention", "sdpa")
    tokenizer = changes.pop("tokenizer")
    config = tiny_config(architecture, **changes)
    model = create_fusion(config, seed, tokenizer=tokenizer, attention=attention).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1 or "mask" in name:
                noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
                value.copy_(noise * 0.3 + (1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0))
    return model


def tiny_inputs(seed: int = 0, *, hidden: bool = False) -> FusionInputs:
    """Three pairs of up to 7 words and 4 regions, with padding, tags and a [MASK] each."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    ids = (draw(3, 7) * 290).long() + 5
    ids[:, 0] = 2
    ids[0, 5], ids[1, 3], ids[2, 2] = 4, 4, 4
    lengths, counts = torch.tensor([7, 5, 4]), torch.tensor([4, 2, 3])
    corners = draw(3, 4, 2) * 0.5
    hide = torch.zeros(3, 4, dtype=torch.bool)
    hide[0, 2] = hide[2, 1] = True
    tags = torch.full((3, 7), -1)
    tags[0, 1], tags[0, 4], tags[1, 2] = 2, 0, 1
    return FusionInputs(
        ids=ids,
        types=(torch.arange(7) > 3).long().expand(3, 7).contiguous(),
        text_mask=torch.arange(7) < lengths[:, None],
        features=draw(3, 4, 6) * 2 - 1,
        boxes=torch.cat([corners, corners + 0.1 + draw(3, 4, 2) * 0.4], dim=-1),
        region_mask=torch.arange(4) < counts[:, None],
        tags=tags,
        hidden_regions=hide if hidden else None,
    )
