"""Tiny models of every kind, made from configurations, for tests in several folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.loading import assemble
from clipdistill.models.named import SHIPPED_TOKENIZER, model_config

TEXTS = ["a red circle", "two large blue squares left of a green star", "circle"]
VOCABULARY = model_config("petri-student")["text_cfg"]["vocab_size"]

VIT = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
TEXT = {
    "context_length": 16,
    "vocab_size": VOCABULARY,
    "hf_tokenizer_name": SHIPPED_TOKENIZER,
    "width": 32,
    "heads": 2,
    "layers": 2,
}
TIMM = {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64}
SIGLIP_VISION = {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160}
SIGLIP_TEXT = {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}

CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "quick": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "custom": {"embed_dim": 24, "custom_text": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "eps": {
        "embed_dim": 24,
        "vision_cfg": {**VIT, "norm_kwargs": {"eps": 1e-3}, "mlp_ratio": 2.0, "act_kwargs": {"approximate": "tanh"}},
        "text_cfg": {**TEXT, "act_kwargs": {"approximate": "tanh"}},
    },
    "bias": {
        "embed_dim": 24,
        "init_logit_scale": 2.302585,
        "init_logit_bias": -10,
        "vision_cfg": VIT,
        "text_cfg": TEXT,
    },
    "average": {"embed_dim": 24, "vision_cfg": {**VIT, "pool_type": "avg"}, "text_cfg": TEXT},
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    },
    "timm": {"embed_dim": 24, "custom_text": True, "vision_cfg": TIMM, "text_cfg": TEXT},
    "siglip": {
        "embed_dim": 64,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": SIGLIP_VISION,
        "text_cfg": {**TEXT, **SIGLIP_TEXT},
    },
    "coca": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {
            **VIT,
            "attentional_pool": True,
            "attn_pooler_queries": 5,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**{key: TEXT[key] for key in ("context_length", "vocab_size", "width", "heads", "layers")}},
    },
    "openai_text": {
        "embed_dim": 24,
        "vision_cfg": VIT,
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
}


def encoder(kind: str, seed: int = 0, double: bool = False) -> DualEncoder:
    """A model of CONFIGS with random weights in which no parameter is still at a telling value such as 0 or 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = assemble(f"tiny-{kind}", {"model_cfg": CONFIGS[kind]})
        stir(model)
    return model.double() if double else model


def stir(model: torch.nn.Module) -> None:
    """Move norms, biases and running statistics off their defaults, so that a swapped one shows."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point() and value.ndim == 1 and "mask" not in name:
                noise = 0.1 * torch.rand_like(value)
                value.add_(noise if "running_var" in name else noise - 0.05)


def picture(width: int = 50, height: int = 41, seed: int = 0) -> Image.Image:
    """A smooth random RGB picture."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def pixels_of(model: DualEncoder, count: int = 2, seed: int = 0) -> torch.Tensor:
    """Random uint8 pixels [count, 3, H, W] at the model's size."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *model.preprocess["size"]), dtype=torch.uint8, generator=generator)


def write_text_tower(folder: Path, kind: str = "bert", seed: int = 0) -> Path:
    """Write a tiny sentence encoder in all-MiniLM-L6-v2's layout: config.json, model.safetensors, WordPiece files."""
    from transformers import AutoModel, BertConfig, DistilBertConfig

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "circle", "square", "##s", "two", "left"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 32}
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **special}), encoding="utf-8")
    size = {"vocab_size": len(words), "max_position_embeddings": 32, "pad_token_id": 0}
    if kind == "bert":
        small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        config: Any = BertConfig(**size, **small)
    else:
        config = DistilBertConfig(**size, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)
    stir(model)
    model.save_pretrained(folder)
    return folder
