"""Dual encoders: an image tower and a text tower in one embedding space.

The names below are found on first use, so that importing this package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipdistill.models.dual_encoder import DualEncoder
    from clipdistill.models.joined import JoinedEncoder, create_joined
    from clipdistill.models.loading import create_model, load_model
    from clipdistill.models.measures import fingerprint, flops_per_pair, parameter_counts
    from clipdistill.models.named import list_models

__all__ = [
    "DualEncoder",
    "JoinedEncoder",
    "create_joined",
    "create_model",
    "fingerprint",
    "flops_per_pair",
    "list_models",
    "load_model",
    "parameter_counts",
]

_HOMES = {
    "DualEncoder": "dual_encoder",
    "JoinedEncoder": "joined",
    "create_joined": "joined",
    "create_model": "loading",
    "load_model": "loading",
    "fingerprint": "measures",
    "flops_per_pair": "measures",
    "parameter_counts": "measures",
    "list_models": "named",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
