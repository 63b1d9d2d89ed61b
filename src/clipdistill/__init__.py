"""Knowledge distillation into and out of CLIP-style models."""

__version__ = "0.1.0"
