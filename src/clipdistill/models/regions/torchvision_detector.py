"""The default detector: one of torchvision's, permissively licensed, with COCO's 80 classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clipdistill.errors import UserError, nearest
from clipdistill.models.regions.found import Found
from clipdistill.waits import network_limit


class TorchvisionDetector:
    """A detector by torchvision's name; weights from a file or from torchvision's cache.

    Args:
        model: such as `fasterrcnn_mobilenet_v3_large_320_fpn` (fast) or `fasterrcnn_resnet50_fpn_v2` (better).
        weights: a state dict's file; none = torchvision's own, downloaded once.
    """

    def __init__(
        self,
        model: str = "fasterrcnn_mobilenet_v3_large_320_fpn",
        weights: str | None = None,
        device: str = "cpu",
    ) -> None:
        from torchvision import models

        names = models.list_models(module=models.detection)
        if model not in names:
            raise UserError(f"`model`: torchvision has no detector {model!r}.{nearest(model, names)}")
        default: Any = models.get_model_weights(model).DEFAULT
        self._labels: list[str] = list(default.meta["categories"])
        self._model: Any = models.get_model(model, weights=None, weights_backbone=None, num_classes=len(self._labels))
        try:
            self._model.load_state_dict(_state(default, weights, model))
        except RuntimeError as error:
            detail = str(error).splitlines()[-1].strip()
            raise UserError(f"`weights`: {weights} doesn't fit {model} ({detail}); give that model's file") from error
        self._model.eval().to(device)
        self._device = device
        self.name = f"detector {model}"
        digest = hashlib.sha256()
        for value in self._model.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.key = f"{model}-{digest.hexdigest()[:16]}"

    @torch.inference_mode()
    def find(self, images: Sequence[Image.Image]) -> list[Found]:
        """Boxes of each picture, best first."""
        pixels = [
            torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float().div(255).to(self._device)
            for image in images
        ]
        return [
            Found(
                found["boxes"].cpu().numpy().astype(np.float32),
                found["scores"].cpu().numpy().astype(np.float32),
                tuple(self._labels[int(number)] for number in found["labels"].tolist()),
            )
            for found in self._model(pixels)
        ]


def _state(default: Any, weights: str | None, model: str) -> dict[str, Any]:
    try:
        if weights is None:
            with network_limit():
                state: dict[str, Any] = default.get_state_dict(progress=False, check_hash=True)
        else:
            state = torch.load(Path(weights), map_location="cpu", weights_only=True)
    except Exception as error:
        where = weights or f"torch hub's checkpoints folder ({default.url.rsplit('/', 1)[-1]})"
        raise UserError(
            f"`weights`: those of {model} can't be read from {where}; fetch {default.url.rsplit('/', 1)[-1]} from "
            "torchvision and give its path as `weights`, or use provider grid"
        ) from error
    return state
