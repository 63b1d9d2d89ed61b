"""Region providers: pictures in, boxes with confidences and class names out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clipdistill.errors import UserError, nearest
from clipdistill.models.regions.found import Found, Provider
from clipdistill.models.regions.geometric import Grid, Whole

__all__ = ["PROVIDERS", "Found", "Grid", "Provider", "Whole", "open_provider"]


def _detector(**options: Any) -> Provider:
    from clipdistill.models.regions.torchvision_detector import TorchvisionDetector

    return TorchvisionDetector(**options)


def _yolo(**options: Any) -> Provider:
    from clipdistill.models.regions.yolo import Yolo

    return Yolo(**options)


def _grid(rows: int = 2, columns: int = 2, device: str = "cpu") -> Provider:  # noqa: ARG001 - every provider is told it
    return Grid(rows, columns)


def _whole(device: str = "cpu") -> Provider:  # noqa: ARG001 - every provider is told it
    return Whole()


PROVIDERS: dict[str, Callable[..., Provider]] = {"detector": _detector, "yolo": _yolo, "grid": _grid, "whole": _whole}
OPTIONS = {
    "detector": ("model", "weights"), "yolo": ("weights", "trust"), "grid": ("rows", "columns"), "whole": (),
    "files": ("layout", "path", "ids", "keys", "min_regions"),
}  # fmt: skip
ELSEWHERE = ("annotations", "files")
"""What finds no regions in a picture: they come with the data."""


def check_provider(spec: Mapping[str, Any]) -> None:
    """Raise a UserError for a provider or an option that doesn't exist; those of `ELSEWHERE` are some too."""
    name = str(spec.get("provider"))
    known = [*PROVIDERS, *ELSEWHERE]
    if name not in known:
        raise UserError(f"`provider`: no provider {name!r}.{nearest(name, known)} Providers: {', '.join(known)}.")
    for key in spec:
        if key != "provider" and key not in OPTIONS.get(name, ()):
            allowed = ", ".join(OPTIONS.get(name, ())) or "none"
            raise UserError(f"`{key}`: {name} has no such option; it has {allowed}")


def open_provider(spec: Mapping[str, Any], device: str = "cpu") -> Provider:
    """Open a provider: `{"provider": "detector" | "yolo" | "grid" | "whole", **options}`.

    Raises:
        UserError: an unknown provider or option, weights or a package that aren't there (says how to get them).
    """
    check_provider(spec)
    options = {key: value for key, value in spec.items() if key != "provider"}
    return PROVIDERS[str(spec["provider"])](**options, device=device)
