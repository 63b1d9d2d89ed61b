"""Kinds of models, an entry each: whatever differs between them besides their loss is asked of the entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clipdistill.kinds.base import Kind
from clipdistill.kinds.denoiser import DenoiserKind
from clipdistill.kinds.dual_encoder import DualEncoderKind, require_weights
from clipdistill.kinds.fusion import FusionKind
from clipdistill.kinds.meta_teacher import MetaTeacherKind
from clipdistill.kinds.vlm import VLMKind

KINDS: dict[str, Kind] = {
    each.name: each for each in (DenoiserKind(), MetaTeacherKind(), FusionKind(), VLMKind(), DualEncoderKind())
}


def kind_of(model: Any) -> Kind:
    """The kind of an open model, by its `KIND`."""
    return KINDS[model.KIND]


def open_trained(name: str | Path, device: torch.device | str = "cpu") -> Any:
    """Open any model with weights by name, folder or RUN, whatever its kind.

    Raises:
        UserError: there is none of that name.
    """
    return next(kind for kind in KINDS.values() if kind.recognises(str(name))).load(name, device)


__all__ = ["KINDS", "Kind", "kind_of", "open_trained", "require_weights"]
