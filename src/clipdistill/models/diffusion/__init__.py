"""Text-to-image diffusion models in diffusers' folder layout: opened, made small, saved."""

from __future__ import annotations

from clipdistill.models.diffusion.creating import NAMED, create_diffusion
from clipdistill.models.diffusion.loading import is_diffusion, load_diffusion
from clipdistill.models.diffusion.model import DiffusionTeacher

__all__ = ["NAMED", "DiffusionTeacher", "create_diffusion", "is_diffusion", "load_diffusion"]
