"""Image towers of every kind: those of tiny_models, petri ones, and small ones of timm's made for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from timm.models import VisionTransformer, register_model
from tiny_models import CONFIGS, TEXT, encoder, write_text_tower

from clipdistill.models import DualEncoder, create_joined, create_model
from clipdistill.models.loading import assemble

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}


@register_model
def tiny_test_siglip(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:  # noqa: ARG001 - timm gives it
    """No class token, a pooling that attends: SigLIP's tower."""
    return with_cfg(VisionTransformer(**{**SMALL, **known(kwargs), "class_token": False, "global_pool": "map"}))


@register_model
def tiny_test_registers(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:  # noqa: ARG001 - timm gives it
    """A class token and two registers."""
    return with_cfg(VisionTransformer(**{**SMALL, **known(kwargs), "reg_tokens": 2, "global_pool": "token"}))


def known(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: kwargs[key] for key in ("num_classes", "proj_drop_rate", "drop_path_rate") if key in kwargs}


def with_cfg(trunk: VisionTransformer) -> VisionTransformer:
    trunk.pretrained_cfg = trunk.default_cfg = {"input_size": (3, 32, 32), "classifier": "head"}
    return trunk


def timm_config(name: str, pool: str, size: int = 32) -> dict[str, Any]:
    vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": "linear", "image_size": size}
    return {"embed_dim": 24, "custom_text": True, "vision_cfg": vision, "text_cfg": TEXT}


def made(kind: str, folder: Path) -> DualEncoder:
    if kind == "joined":
        text = str(write_text_tower(folder / "text"))
        return create_joined({"image_tower": "test_efficientnet", "text_tower": text, "embed_dim": 12})
    if kind in CONFIGS:
        return encoder(kind)
    if kind.startswith("petri"):
        return create_model(kind, 0)
    pool = {"tiny_test_siglip": "map", "tiny_test_registers": "token"}.get(kind, "avg")
    torch.manual_seed(0)
    return assemble(kind, {"model_cfg": timm_config(kind, pool, 64 if kind == "fastvit_t8" else 32)})
