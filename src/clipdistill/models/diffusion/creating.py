"""Small diffusion models with random weights, for the petri world."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from clipdistill.errors import UserError, nearest
from clipdistill.models.diffusion.model import DiffusionTeacher
from clipdistill.models.named import PETRI_TOKENIZER


class DiffusionConfig(BaseModel):
    """The sizes of a pixel-space UNet and of its text encoder."""

    model_config = ConfigDict(extra="forbid")

    image_size: int = 32
    """Side of the pictures; it halves once a level but the last."""
    channels: tuple[int, ...] = (48, 96, 128)
    """Width of each level; all but the first attend to the caption."""
    layers_per_block: int = 1
    head_width: int = 16
    norm_groups: int = 8
    text_width: int = 128
    text_layers: int = 3
    text_heads: int = 4
    context_length: int = 32
    prediction_type: str = "epsilon"
    beta_schedule: str = "squaredcos_cap_v2"
    """Cosine: at small sizes the linear schedule leaves most steps with no signal at all."""
    timesteps: int = 1000


NAMED: dict[str, dict[str, Any]] = {
    "petri-diffusion": {
        "image_size": 16, "channels": (32, 64), "text_width": 96, "context_length": 24,
        "prediction_type": "v_prediction",
    },
}  # fmt: skip
"""Configurations by name: what differs from DiffusionConfig's defaults."""


def create_diffusion(
    config: str | Mapping[str, Any], seed: int | None = None, *, device: str | torch.device = "cpu"
) -> DiffusionTeacher:
    """Make a small text-to-image model in pixel space with random weights, ready to be trained.

    A UNet2DConditionModel, a CLIPTextModel over the petri tokenizer, DDPM's scheduler.

    Args:
        config: a name of `NAMED`, or the fields of DiffusionConfig.
        seed: makes the weights a function of this number and leaves torch's random state untouched.

    Raises:
        UserError: no such name, a field that doesn't exist, or sizes that don't fit.
    """
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    if isinstance(config, str) and config not in NAMED:
        raise UserError(f"diffusion model '{config}': no such name.{nearest(config, NAMED)} Names: {', '.join(NAMED)}")
    name = config if isinstance(config, str) else "diffusion"
    try:
        sizes = DiffusionConfig.model_validate(NAMED[config] if isinstance(config, str) else dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"diffusion model: `{'.'.join(map(str, first['loc']))}`: {first['msg']}") from error
    levels = len(sizes.channels)
    if levels < 2 or sizes.image_size % 2 ** (levels - 1) or any(c % sizes.norm_groups for c in sizes.channels):
        raise UserError(
            f"diffusion model: `channels` {sizes.channels} needs two levels or more, each a multiple of norm_groups = "
            f"{sizes.norm_groups}, and image_size {sizes.image_size} a multiple of {2 ** (levels - 1)}"
        )
    tokenizer = CLIPTokenizer.from_pretrained(PETRI_TOKENIZER, model_max_length=sizes.context_length)
    with torch.random.fork_rng(devices=[]) if seed is not None else nullcontext():
        if seed is not None:
            torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=sizes.image_size, in_channels=3, out_channels=3,
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (levels - 1)),
            up_block_types=(*("CrossAttnUpBlock2D",) * (levels - 1), "UpBlock2D"),
            block_out_channels=sizes.channels, layers_per_block=sizes.layers_per_block,
            norm_num_groups=sizes.norm_groups, cross_attention_dim=sizes.text_width,
            # diffusers takes the number of heads under this name (its issue 2011).
            attention_head_dim=tuple(max(1, width // sizes.head_width) for width in sizes.channels),
        )  # fmt: skip
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=sizes.text_width, intermediate_size=4 * sizes.text_width,
                num_hidden_layers=sizes.text_layers, num_attention_heads=sizes.text_heads,
                max_position_embeddings=sizes.context_length, pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            )
        )  # fmt: skip
    scheduler = DDPMScheduler(
        num_train_timesteps=sizes.timesteps, beta_schedule=sizes.beta_schedule, prediction_type=sizes.prediction_type,
        clip_sample=False, steps_offset=1,  # what diffusers' Stable Diffusion pipeline expects of a checkpoint
    )  # fmt: skip
    return DiffusionTeacher(unet, text, tokenizer, scheduler, name=name).to(device)
