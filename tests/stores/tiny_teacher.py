"""A tiny teacher and a tiny data source that satisfy the interfaces `cache_teacher` uses."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from clipdistill.data import AugmentPlan, ImageRef, ImageView, Mixture, Sample, apply

SIZE = 8
PLAN = AugmentPlan(crop_scale=(0.5, 1.0), flip=0.5, views=3, seed=7)


class Pictures:
    """Random pictures in memory; sample i has i % 3 + 1 captions. `bad` are positions with broken bytes."""

    def __init__(self, count: int, bad: tuple[int, ...] = (), name: str = "pictures", word: str = "caption") -> None:
        self.name, self.classes, self.word = name, None, word
        self.ids = [f"{i:03d}" for i in range(count)]
        self._bytes = [b"broken" if i in bad else _png(i) for i in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        captions = tuple(f"{self.word} {k} of {index}" for k in range(index % 3 + 1))
        return Sample(self.ids[index], ImageRef.from_bytes(self._bytes[index]), captions)

    def fingerprint(self) -> str:
        return f"{self.name} {len(self)} {self.word}"


def _png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class TinyTeacher(nn.Module):
    FEATURES = ("embedding", "tower")

    """Linear towers with dropout; notes how often it was asked, and fails at a given question."""

    def __init__(self, dim: int = 16, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.name, self.embed_dim, self.tokenizer_key = "tiny", dim, "letters"
        self.preprocess: dict[str, Any] = {"size": (SIZE, SIZE), "mean": (0.5,) * 3, "std": (0.5,) * 3}
        self.image_tower = nn.Linear(3 * SIZE * SIZE, 20)
        self.text_tower = nn.Embedding(128, 24)
        self.project_image, self.project_text = nn.Linear(20, dim), nn.Linear(24, dim)
        self.dropout = nn.Dropout(0.5)
        self.logit_bias: Tensor | None = None
        self.logit_scale = torch.tensor(100.0, requires_grad=True) * 1  # as models give it: with a graph
        self.images = self.texts = self.calls = 0
        self.fails_at: int | None = None

    def tokenizer(self, texts: list[str]) -> Tensor:
        return torch.tensor([[min(ord(c), 127) for c in text.ljust(20)[:20]] for text in texts])

    def image_tower_features(self, pixels: Tensor) -> Tensor:
        self._count()
        self.images += len(pixels)
        return self.dropout(1000 * self.image_tower(pixels.float().flatten(1) / 255 - 0.5))

    def text_tower_features(self, tokens: Tensor) -> Tensor:
        self._count()
        self.texts += len(tokens)
        return self.dropout(self.text_tower(tokens).mean(1))

    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.project_image(self.image_tower_features(pixels))

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.project_text(self.text_tower_features(tokens))

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt("killed")


def live(teacher: TinyTeacher, mixture: Mixture, row: int, view: int) -> np.ndarray:
    """The image target of a view as the teacher gives it now."""
    sample = mixture[row]
    pixels = apply(sample.image.open(), PLAN.record(sample.id, int(view)), ImageView((8, 8)))
    with torch.no_grad():
        return F.normalize(teacher.eval().encode_image(pixels[None])).numpy()[0]
