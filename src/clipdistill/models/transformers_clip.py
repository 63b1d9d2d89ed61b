"""CLIP in transformers' layout and in open_clip's: the same numbers under other names, converted both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.models.building import read_tensors

State = dict[str, torch.Tensor]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
# Stands in `hf_tokenizer_name` for "the files beside this configuration".
OWN_TOKENIZER = "this-folder"

# open_clip's name -> transformers' name, outside the blocks; matrices marked True are stored transposed.
_OUTSIDE: dict[str, tuple[str, bool]] = {
    "visual.class_embedding": ("vision_model.embeddings.class_embedding", False),
    "visual.positional_embedding": ("vision_model.embeddings.position_embedding.weight", False),
    "visual.conv1.weight": ("vision_model.embeddings.patch_embedding.weight", False),
    "visual.ln_pre.weight": ("vision_model.pre_layrnorm.weight", False),
    "visual.ln_pre.bias": ("vision_model.pre_layrnorm.bias", False),
    "visual.ln_post.weight": ("vision_model.post_layernorm.weight", False),
    "visual.ln_post.bias": ("vision_model.post_layernorm.bias", False),
    "visual.proj": ("visual_projection.weight", True),
    "token_embedding.weight": ("text_model.embeddings.token_embedding.weight", False),
    "positional_embedding": ("text_model.embeddings.position_embedding.weight", False),
    "ln_final.weight": ("text_model.final_layer_norm.weight", False),
    "ln_final.bias": ("text_model.final_layer_norm.bias", False),
    "text_projection": ("text_projection.weight", True),
    "logit_scale": ("logit_scale", False),
}
_TOWERS = {
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "transformer.resblocks": "text_model.encoder.layers",
}
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def to_transformers_state(state: Mapping[str, torch.Tensor]) -> State:
    """Convert an open_clip CLIP state dict (with or without the `text.` prefix of CustomTextCLIP).

    The logit bias has no place in transformers' CLIPModel and is left out: it moves all logits alike.
    """
    found: State = {}
    for name, value in state.items():
        name = name.removeprefix("text.")
        if name in _OUTSIDE:
            target, transposed = _OUTSIDE[name]
            found[target] = (
                value.T.contiguous() if transposed else value.reshape(()) if name == "logit_scale" else value
            )
        elif match := re.fullmatch(r"(.*resblocks)\.(\d+)\.(.+)", name):
            place = f"{_TOWERS[match[1]]}.{match[2]}"
            part = match[3]
            if part.startswith("attn.in_proj_"):
                kind = part.removeprefix("attn.in_proj_")
                for letter, third in zip("qkv", value.chunk(3), strict=True):
                    found[f"{place}.self_attn.{letter}_proj.{kind}"] = third.contiguous()
            else:
                module, kind = part.rsplit(".", 1)
                found[f"{place}.{_BLOCK[module]}.{kind}"] = value
    return found


def from_transformers_state(state: Mapping[str, torch.Tensor]) -> State:
    """Convert a transformers CLIPModel state dict to open_clip's CLIP."""
    found: State = {}
    for name, (theirs, transposed) in _OUTSIDE.items():
        if theirs in state:
            found[name] = state[theirs].T.contiguous() if transposed else state[theirs]
    for ours, theirs in _TOWERS.items():
        pattern = re.compile(re.escape(theirs) + r"\.(\d+)\.")
        for block in sorted({match[1] for key in state if (match := pattern.match(key))}, key=int):
            place, target = f"{theirs}.{block}", f"{ours}.{block}"
            for kind in ("weight", "bias"):
                thirds = [state[f"{place}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                found[f"{target}.attn.in_proj_{kind}"] = torch.cat(thirds)
                for mine, other in _BLOCK.items():
                    found[f"{target}.{mine}.{kind}"] = state[f"{place}.{other}.{kind}"]
    return found


def read_transformers_folder(folder: Path) -> tuple[dict[str, Any], State]:
    """Read a transformers CLIP folder.

    Returns:
        The open_clip configuration (`model_cfg`, `preprocess_cfg`) and the state dict of open_clip's CLIP class.

    Raises:
        UserError: weights or tokenizer are missing, or the architecture has no counterpart in open_clip.
    """
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(f"{folder}: has no tokenizer files; copy tokenizer.json (or vocab.json and merges.txt) into it")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    state = _read_state(folder)
    try:
        model_cfg = _model_cfg(config, state)
        return {"model_cfg": model_cfg, "preprocess_cfg": _preprocess_cfg(folder)}, from_transformers_state(state)
    except KeyError as error:
        raise UserError(f"{folder}: the weights lack {error}; is it a whole transformers CLIPModel?") from error


def _read_state(folder: Path) -> State:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        state: State = {}
        for part in parts:
            state |= read_tensors(folder / part)
        return state
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read_tensors(folder / name)
    raise UserError(f"{folder}: has no weights; put model.safetensors beside config.json")


def _model_cfg(config: dict[str, Any], state: State) -> dict[str, Any]:
    from transformers import CLIPConfig

    full = CLIPConfig(**{k: v for k, v in config.items() if k not in ("architectures", "transformers_version")})
    vision: Any = full.vision_config
    text: Any = full.text_config
    eos = text.eos_token_id
    # transformers reads eos_token_id 2 as "the highest id", which is open_clip's own rule.
    pool = {} if eos in (2, text.vocab_size - 1) else {"pool_type": "eos", "eos_id": eos}
    cfg = {
        "embed_dim": int(state["visual_projection.weight"].shape[0]),
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            **_tower(vision),
            "head_width": vision.hidden_size // vision.num_attention_heads,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "hf_tokenizer_name": OWN_TOKENIZER,
            **_tower(text),
            "heads": text.num_attention_heads,
            **pool,
        },
    }
    quick = {name: tower.hidden_act == "quick_gelu" for name, tower in (("vision", vision), ("text", text))}
    if quick["vision"] != quick["text"]:
        raise UserError("config.json: hidden_act is quick_gelu in one tower only, which open_clip can't express")
    if quick["vision"]:
        cfg["quick_gelu"] = True
    return cfg


def _tower(tower: Any) -> dict[str, Any]:
    kwargs: dict[str, Any] = {
        "width": tower.hidden_size,
        "layers": tower.num_hidden_layers,
        "mlp_ratio": tower.intermediate_size / tower.hidden_size,
    }
    if tower.layer_norm_eps != 1e-5:
        kwargs["norm_kwargs"] = {"eps": tower.layer_norm_eps}
    if tower.hidden_act in ("gelu_pytorch_tanh", "gelu_new"):
        kwargs["act_kwargs"] = {"approximate": "tanh"}
    elif tower.hidden_act not in ("gelu", "quick_gelu"):
        raise UserError(f"config.json: hidden_act '{tower.hidden_act}' has no counterpart in open_clip")
    return kwargs


def _preprocess_cfg(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            read = json.loads((folder / name).read_text(encoding="utf-8"))
            found = read.get("image_processor", read)
            break
    cfg: dict[str, Any] = {}
    if found.get("image_mean"):
        cfg["mean"], cfg["std"] = found["image_mean"], found["image_std"]
    if "resample" in found:
        cfg["interpolation"] = {2: "bilinear", 3: "bicubic"}.get(int(found["resample"]), "bicubic")
    if isinstance(found.get("size"), dict) and "height" in found["size"]:
        cfg["resize_mode"] = "squash"
    return cfg
