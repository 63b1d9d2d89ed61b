"""transformers' side of a saved student: configuration, weights and image processor of a CLIPModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipdistill.models.dual_encoder import DualEncoder

# Anything of these in a tower makes it another network than transformers' CLIP.
_FOREIGN_VISION = (
    "timm_model_name",
    "ls_init_value",
    "attentional_pool",
    "no_ln_pre",
)
_FOREIGN_BOTH = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
_FOREIGN_TEXT = ("hf_model_name", "ls_init_value", "embed_cls", "no_causal_mask", "proj_bias")


def transformers_obstacle(model: DualEncoder) -> str | None:
    """Say why a model can't be opened as transformers' CLIPModel, or None when it can."""
    cfg = model.config["model_cfg"]
    vision, text = cfg["vision_cfg"], cfg["text_cfg"]
    if "multimodal_cfg" in cfg:
        return "it has a text decoder (CoCa)"
    if isinstance(vision.get("layers"), list | tuple):
        return "its image tower is a ResNet"
    for field in (*_FOREIGN_VISION, *_FOREIGN_BOTH):
        if vision.get(field):
            return f"its image tower has {field}"
    for field in (*_FOREIGN_TEXT, *_FOREIGN_BOTH):
        if text.get(field):
            return f"its text tower has {field}"
    if vision.get("pool_type", "tok") != "tok" or vision.get("block_type") or text.get("block_type"):
        return "its image tower doesn't pool the class token, or its blocks are of another type"
    if text.get("proj_type", "linear") != "linear" or text.get("pool_type", "argmax") not in ("argmax", "eos"):
        return "its text tower pools or projects in another way"
    height, width = model.preprocess["size"]
    if height != width or model.preprocess["resize_mode"] == "longest":
        return "its images aren't square, or are padded"
    return None


def transformers_config(model: DualEncoder) -> dict[str, Any]:
    """Return `config.json` (a CLIPConfig) for a model without obstacle."""
    cfg = model.config["model_cfg"]
    vision, text = cfg["vision_cfg"], cfg["text_cfg"]
    quick = bool(cfg.get("quick_gelu"))
    ids = model.tokenizer.special_ids()
    width = vision.get("width", 768)
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": model.embed_dim,
        "logit_scale_init_value": 2.6592,
        "initializer_factor": 1.0,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": text.get("vocab_size", 49408),
            "max_position_embeddings": text.get("context_length", 77),
            "num_attention_heads": text.get("heads", 8),
            **_tower(text, 512, quick),
            "projection_dim": model.embed_dim,
            "bos_token_id": ids["bos"],
            "eos_token_id": _eos_token_id(model, ids["eos"]),
            "pad_token_id": ids["pad"],
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "image_size": model.preprocess["size"][0],
            "patch_size": vision.get("patch_size", 16),
            "num_attention_heads": width // vision.get("head_width", 64),
            **_tower(vision, 768, quick),
            "projection_dim": model.embed_dim,
        },
    }


def _eos_token_id(model: DualEncoder, eos: int | None) -> int:
    text = model.config["model_cfg"]["text_cfg"]
    if text.get("pool_type", "argmax") == "eos":
        return int(text.get("eos_id", 2))
    # transformers reads 2 as "pool at the highest id", open_clip's rule; the true id is better where both agree.
    return int(eos) if eos is not None and eos == text.get("vocab_size", 49408) - 1 else 2


def _tower(tower: dict[str, Any], default_width: int, quick_gelu: bool) -> dict[str, Any]:
    width = tower.get("width", default_width)
    tanh = (tower.get("act_kwargs") or {}).get("approximate") == "tanh"
    return {
        "hidden_size": width,
        "intermediate_size": int(width * tower.get("mlp_ratio", 4.0)),
        "num_hidden_layers": tower.get("layers", 12),
        "hidden_act": "quick_gelu" if quick_gelu else "gelu_pytorch_tanh" if tanh else "gelu",
        "layer_norm_eps": (tower.get("norm_kwargs") or {}).get("eps", 1e-5),
        "attention_dropout": 0.0,
    }


def image_processor_config(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return `preprocessor_config.json` (a CLIPImageProcessor) that prepares images as a model's `preprocess` says."""
    height, width = wanted["size"]
    squash = wanted["resize_mode"] == "squash"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": height, "width": width} if squash else {"shortest_edge": height},
        "resample": {"bilinear": 2}.get(wanted["interpolation"], 3),
        "do_center_crop": not squash,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(wanted["mean"]),
        "image_std": list(wanted["std"]),
    }
