"""What a provider finds in one picture, and what a provider is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image


@dataclass(frozen=True, slots=True)
class Found:
    """boxes float32 [n, 4], x1 y1 x2 y2 in pixels of the picture; scores float32 [n]; labels: n class names."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...]


class Provider(Protocol):
    """Finds regions. `key` stands for weights and settings: equal keys find the same."""

    name: str
    key: str

    def find(self, images: Sequence[Image.Image]) -> list[Found]:
        """Regions of each RGB picture."""
        ...
