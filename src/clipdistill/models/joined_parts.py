"""Reading the description of a joined model, and filling its towers from the files it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clipdistill.errors import UserError, nearest
from clipdistill.models.building import read_tensors

FIELDS = (
    "image_tower",
    "image_weights",
    "text_tower",
    "embed_dim",
    "projection",
    "image_size",
    "context_length",
    "pooling",
    "init_logit_scale",
    "init_logit_bias",
)
_POOLING = {"mean": "mean_pooler", "first": "cls_last_hidden_state_pooler"}


def check_spec(spec: Mapping[str, Any]) -> None:
    import timm

    for key in spec:
        if key not in FIELDS:
            raise UserError(f"joined model: unknown field '{key}'.{nearest(key, FIELDS)}")
    for key in ("image_tower", "text_tower"):
        if not spec.get(key):
            raise UserError(f"joined model: the field '{key}' is missing")
    if spec.get("projection", "linear") not in ("linear", "mlp"):
        raise UserError(f"joined model: projection is '{spec['projection']}'; it must be 'linear' or 'mlp'")
    if spec.get("pooling", "mean") not in _POOLING:
        raise UserError(f"joined model: pooling is '{spec['pooling']}'; it must be 'mean' or 'first'")
    tower = str(spec["image_tower"])
    if not timm.is_model(tower.split(".")[0]):
        raise UserError(f"image_tower '{tower}': timm has no such model.{nearest(tower, timm.list_models())}")
    weights = spec.get("image_weights")
    if weights and weights != "pretrained" and not Path(weights).is_file():
        raise UserError(f"image_weights: the file {weights} doesn't exist; give a .safetensors file of {tower}")


def joined_config(spec: Mapping[str, Any]) -> dict[str, Any]:
    import timm

    text_tower = str(spec["text_tower"])
    if Path(text_tower).is_dir() and not (Path(text_tower) / "config.json").is_file():
        raise UserError(f"text_tower: {text_tower} has no config.json; give a transformers model folder")
    if not Path(text_tower).is_dir() and (text_tower.count("/") != 1 or text_tower[0] in "./~"):
        raise UserError(f"text_tower: the folder {text_tower} doesn't exist; give a transformers folder or a hub name")
    tower = str(spec["image_tower"])
    # A random projection is enough to learn the tower's own input size: timm keeps it beside the architecture.
    own = timm.get_pretrained_cfg(tower)
    size = int(spec.get("image_size") or (own.input_size[-1] if own is not None else 224))
    projection = spec.get("projection", "linear")
    cfg: dict[str, Any] = {
        "embed_dim": int(spec.get("embed_dim", 256)),
        "vision_cfg": {"timm_model_name": tower, "timm_pool": "", "timm_proj": projection, "image_size": size},
        "text_cfg": {
            "hf_model_name": text_tower,
            "hf_tokenizer_name": text_tower,
            "hf_pooler_type": _POOLING[spec.get("pooling", "mean")],
            "hf_proj_type": projection,
        },
    }
    for key in ("init_logit_scale", "init_logit_bias"):
        if spec.get(key) is not None:
            cfg[key] = float(spec[key])
    return cfg


def context_length(most: int, spec: Mapping[str, Any]) -> int:
    """Return the wanted context length; `most` is what the tower has positions for, 0 when it doesn't say."""
    wanted = spec.get("context_length")
    if wanted and most and int(wanted) > most:
        raise UserError(f"joined model: context_length is {wanted}, but {spec['text_tower']} has only {most} positions")
    return int(wanted) if wanted else min(64, most or 64)


def timm_preprocess(trunk: Any) -> dict[str, Any]:
    from timm.data.config import resolve_data_config

    found = resolve_data_config({}, model=trunk)
    return {"mean": found["mean"], "std": found["std"], "interpolation": found["interpolation"]}


def fill_image_tower(trunk: Any, spec: Mapping[str, Any]) -> None:
    weights, tower = spec.get("image_weights"), str(spec["image_tower"])
    if not weights:
        return
    state = _hub_image_state(tower) if weights == "pretrained" else read_tensors(Path(weights))
    classifier = trunk.pretrained_cfg.get("classifier") or "head"
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    state = {key: value for key, value in state.items() if not key.startswith(tuple(f"{head}." for head in heads))}
    try:
        trunk.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip()[:160] if "\n" in str(error) else str(error)[:160]
        raise UserError(f"image_weights: {weights} doesn't fit {tower} ({detail})") from error


def _hub_image_state(tower: str) -> dict[str, torch.Tensor]:
    import timm

    try:
        state: dict[str, torch.Tensor] = timm.create_model(tower, pretrained=True).state_dict()
    except Exception as error:
        raise UserError(
            f"image_tower '{tower}': its pretrained weights aren't in the cache and couldn't be fetched; "
            f"`hf download timm/{tower}`, or give a local file in image_weights"
        ) from error
    return state


def fill_text_tower(transformer: nn.Module, text_tower: str) -> None:
    from transformers import AutoModel
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for a tenth of a second
    try:
        whole = AutoModel.from_pretrained(text_tower)
    except Exception as error:
        advice = "copy model.safetensors into it" if Path(text_tower).is_dir() else f"`hf download {text_tower}`"
        raise UserError(f"text_tower: the weights of {text_tower} can't be read; {advice}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    source = whole.encoder if getattr(whole.config, "is_encoder_decoder", False) else whole
    missing = transformer.load_state_dict(source.state_dict(), strict=False).missing_keys
    if missing:
        raise UserError(f"text_tower: the weights of {text_tower} lack {missing[0]}; give the whole model")
