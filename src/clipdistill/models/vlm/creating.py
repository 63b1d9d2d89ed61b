"""Putting a VLM together: a dual encoder's image tower, a new connector, a language model."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.models.vlm.language import IMAGE, open_language_model
from clipdistill.models.vlm.model import VLM, generation
from clipdistill.models.vlm.native import native_tower
from clipdistill.models.vlm.tower import BLIND, ImageTower, blind_tower, image_tower


def create_vlm(
    encoder: Any, language_model: str, *, name: str = "vlm", seed: int | None = None, drop_first: bool = False,
    native: bool = True,
) -> VLM:  # fmt: skip
    """Put a VLM together, in evaluation mode; its connector is new.

    Args:
        encoder: a DualEncoder, whose image tower is copied with its weights; None = a tower that sees nothing.
        language_model: see `open_language_model`.
        seed: of what is new, and leaves torch's random state untouched; None draws from it.
        drop_first: leave out the tower's token 0, whatever it is (see `ImageTowerConfig`).
        native: use transformers' own tower where it has one of this architecture, so that the result opens there
            without an import.

    Raises:
        UserError: a tower without maps of features, or whose pictures are padded; a language model that isn't there.
    """
    from transformers import GenerationConfig, LlavaConfig, LlavaForConditionalGeneration

    if encoder is not None and encoder.preprocess["resize_mode"] == "longest":
        raise UserError(f"model '{encoder.name}': its pictures are padded, which LLaVA's processor can't do")
    lm, tokenizer = open_language_model(language_model, seed)
    tower, layer, strategy = _tower(encoder, drop_first, native)
    weight = lm.get_input_embeddings().weight
    make: Any = LlavaConfig
    config = make(
        vision_config=tower.config, text_config=lm.config, image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=layer, vision_feature_select_strategy=strategy, projector_hidden_act="gelu",
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.device("meta"):
        llava: Any = LlavaForConditionalGeneration(config)
    base = lm.base_model if lm.base_model is not lm else None
    if base is None or type(base) is not type(llava.model.language_model):
        raise UserError(f"language model '{language_model}': LLaVA can't be built on a {type(lm).__name__}")
    llava.model.vision_tower, llava.model.language_model = tower.to(weight.dtype), base
    llava.lm_head = lm.get_output_embeddings()
    with torch.random.fork_rng(devices=[]) if seed is not None else nullcontext():
        if seed is not None:
            torch.manual_seed(seed + 1)
        _fresh(llava.model.multi_modal_projector, weight)
    llava.tie_weights()
    config.image_seq_length = 0
    llava.generation_config = GenerationConfig(**generation(config, tokenizer))
    model = VLM(llava.eval(), name=name, preprocess=_preprocess(encoder), tokenizer=tokenizer)
    config.image_seq_length = model.image_tokens
    return model


def _tower(encoder: Any, drop_first: bool, native: bool) -> tuple[Any, int, str]:
    """The tower, the layer that is read, and LLaVA's select strategy ("default" drops token 0)."""
    if encoder is None:
        return *blind_tower(), "full"
    found = native_tower(encoder) if native else None
    if found is not None:
        tower, layer, apart = found
        return tower, layer, "default" if apart or drop_first else "full"
    own: tuple[ImageTower, int] = image_tower(encoder, drop_first)
    return *own, "full"


def _fresh(connector: Any, like: torch.Tensor) -> None:
    """Weights as LLaVA's authors' layers have them: torch's own draws for a linear layer."""
    connector.to_empty(device=like.device)
    connector.to(like.dtype)
    for layer in (connector.linear_1, connector.linear_2):
        layer.reset_parameters()
    connector.requires_grad_(True)


def _preprocess(encoder: Any) -> dict[str, Any]:
    if encoder is not None:
        return dict(encoder.preprocess)
    half = [0.5, 0.5, 0.5]
    return {
        "size": [BLIND["image_size"]] * 2, "mode": "RGB", "mean": half, "std": half, "interpolation": "bicubic",
        "resize_mode": "squash", "fill_color": 0,
    }  # fmt: skip
