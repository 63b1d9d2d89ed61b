"""A teacher as `cache_teacher` uses it: frozen, without graph, in bf16 on a GPU, giving rows ready for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipdistill.errors import UserError

FEATURES = ("embedding", "tower")


class Encoder:
    """Pixels and texts -> (unit rows, their lengths).

    Rows are divided by their length before they become half precision: whatever the teacher's scale, the numbers
    lie in [-1, 1], where float16 keeps 11 significant bits. For embeddings the length is thrown away, since every
    objective normalises; for tower features it is stored beside them in float32.

    Args:
        features: "embedding" (encode_image, encode_text) or "tower" (a joined model's features before its
            projections: image_tower_features, text_tower_features).
    """

    def __init__(self, model: Any, features: str, device: torch.device) -> None:
        if features not in FEATURES:
            raise ValueError(f"features must be one of {FEATURES}, got {features!r}")
        if features not in model.FEATURES:
            raise UserError(f"{model.name}: only a joined model has tower features to store; store its embeddings")
        self._model = model
        self._image = model.encode_image if features == "embedding" else model.image_tower_features
        self._text = model.encode_text if features == "embedding" else model.text_tower_features
        self._device = device

    def image(self, pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [B, 3, H, W] -> float32 unit rows [B, D] and lengths [B, 1]."""
        return self._rows(self._image, pixels)

    def text(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """B texts -> float32 unit rows [B, D] and lengths [B, 1]."""
        return self._rows(self._text, self._model.tokenizer(texts))

    def widths(self) -> tuple[int, int]:
        """Widths of image and text rows, found by encoding one of each."""
        height, width = self._model.preprocess["size"]
        pixels = torch.zeros(1, 3, height, width, dtype=torch.uint8)
        return self.image(pixels)[0].shape[1], self.text(["a"])[0].shape[1]

    def _rows(self, encode: Any, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
        cuda = self._device.type == "cuda"
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=cuda):
            rows = encode(inputs.to(self._device, non_blocking=True)).float()
            lengths = rows.norm(dim=1, keepdim=True)
            unit = rows / lengths.clamp_min(torch.finfo(torch.float32).tiny)
        return unit.cpu().numpy(), lengths.cpu().numpy()


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and back afterwards those that were training."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
