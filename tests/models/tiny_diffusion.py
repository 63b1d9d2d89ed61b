"""A diffusion model of a few thousand weights: 8 pixels, two levels."""

from __future__ import annotations

from typing import Any

import torch

from clipdistill.models.diffusion import DiffusionTeacher, create_diffusion

TINY = {
    "image_size": 8,
    "channels": (8, 16),
    "norm_groups": 4,
    "head_width": 8,
    "text_width": 16,
    "text_layers": 1,
    "text_heads": 2,
    "context_length": 16,
}


def tiny_diffusion(seed: int = 0, **fields: Any) -> DiffusionTeacher:
    """A pixel-space model with random weights, the last convolution included (diffusers leaves none at zero)."""
    return create_diffusion({**TINY, **fields}, seed)


def tiny_latent_diffusion(seed: int = 0) -> DiffusionTeacher:
    """The same with a VAE: pictures of 16 pixels, latents of 4 x 8 x 8."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    pixel = tiny_diffusion(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=16,
            scaling_factor=0.5,
        )  # fmt: skip
        unet = UNet2DConditionModel(**{**dict(pixel.unet.config), "in_channels": 4, "out_channels": 4})
    return DiffusionTeacher(unet, pixel.text_encoder, pixel.tokenizer.inner, pixel.scheduler, vae, name="latent")
