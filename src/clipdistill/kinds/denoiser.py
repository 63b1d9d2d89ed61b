"""Denoisers: text-to-image diffusion models, which score pairs and embed nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.evaluate import denoiser_cost
from clipdistill.kinds.base import Kind
from clipdistill.models import fingerprint
from clipdistill.models.diffusion import NAMED, create_diffusion, is_diffusion, load_diffusion
from clipdistill.recipe import ModelSpec

PREFIX = "diffusion:"
"""Tells a diffusion model of the hub from a CLIP."""


class DenoiserKind(Kind):
    """A UNet with a text encoder, and perhaps a VAE, in diffusers' layout."""

    name = "denoiser"
    recomputes = True
    layouts = ("diffusers",)
    storable = False

    def new(self, spec: ModelSpec, seed: int, device: torch.device | str = "cpu") -> Any:
        """Small and new by a name of ours, or one with weights."""
        if spec.model is None:
            raise UserError(f"`student.model` is missing: name a diffusion model, such as {next(iter(NAMED))}")
        if spec.model in NAMED:
            return create_diffusion(spec.model, seed, device=device)
        return load_diffusion(spec.model, device)

    def open(self, spec: ModelSpec, device: torch.device | str = "cpu", *, bf16: bool = False, role: str = "") -> Any:
        """Frozen, in the run's precision."""
        if spec.model is None:
            raise UserError("`model` is missing: the method needs a diffusers folder or name")
        dtype = torch.bfloat16 if bf16 else torch.float32
        return load_diffusion(spec.model, dtype=dtype, channels_last=torch.cuda.is_available(), role=role)

    def recognises(self, name: str) -> bool:
        """A diffusers folder, a RUN that trained one, a name of ours with shipped weights, or `diffusion:NAME`."""
        return name.startswith(PREFIX) or is_diffusion(name)

    def load(self, name: str | Path, device: torch.device | str = "cpu") -> Any:
        """See `load_diffusion`; `diffusion:NAME` is the hub's."""
        return load_diffusion(str(name).removeprefix(PREFIX), device)

    def save(self, model: Any, folder: Path) -> None:
        """diffusers' layout."""
        model.save(folder)

    def fingerprint(self, model: Any, features: str = "embedding") -> str:
        """Of weights, preprocessing and tokenizer."""
        return fingerprint(model)

    def cost(self, model: Any, device: torch.device | str = "cpu", *, speed: bool = True) -> dict[str, float]:
        """Parameters; what a score costs depends on how many noise levels are drawn for it."""
        return denoiser_cost(model)

    def compile(self, model: Any) -> None:
        """The UNet."""
        model.unet.compile()

    def checkpoint_activations(self, model: Any) -> None:
        """The UNet, whose activations are most of a step's memory."""
        model.set_grad_checkpointing()
