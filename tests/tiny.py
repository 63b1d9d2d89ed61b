"""Tiny stand-ins in float64: a student with dropout and BatchNorm, a teacher, a loader."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

SIZE, VOCAB, LENGTH = 8, 11, 5


class TinyStudent(nn.Module):
    """Two small towers; `dropout` and `norm` (BatchNorm) on request."""

    def __init__(self, embed_dim: int = 6, dropout: float = 0.0, norm: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.preprocess: dict[str, Any] = {"mean": [0.4, 0.5, 0.6], "size": [SIZE, SIZE]}
        width = 12
        self.image = nn.Sequential(
            nn.Linear(3 * SIZE * SIZE, width), nn.BatchNorm1d(width) if norm else nn.Identity(), nn.Tanh(),
            nn.Dropout(dropout), nn.Linear(width, embed_dim),
        )  # fmt: skip
        self.words = nn.Embedding(VOCAB, width)
        self.text = nn.Sequential(nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, embed_dim))
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.logit_bias = nn.Parameter(torch.tensor(-2.0)) if bias else None

    @property
    def logit_scale(self) -> Tensor:
        return self.log_logit_scale.exp()

    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.image(pixels.to(self.log_logit_scale.dtype).flatten(1))

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.text(self.words(tokens).mean(1))


class TinyTeacher:
    """Targets that depend on the sample alone, as a store's do."""

    def __init__(self, embed_dim: int = 6, scale: float = 20.0, seed: int = 0, samples: int = 64) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.name, self.embed_dim, self.logit_scale = f"tiny{seed}", embed_dim, scale
        self.image = torch.randn(samples, embed_dim, generator=generator, dtype=torch.float64)
        self.text = torch.randn(samples, embed_dim, generator=generator, dtype=torch.float64)
        self.calls = 0

    def targets(self, batch: Any) -> dict[str, Tensor]:
        self.calls += 1
        return {"image": self.image[batch["sample"]], "text": self.text[batch["sample"]]}


def make_batch(size: int = 8, start: int = 0, seed: int = 0) -> dict[str, Any]:
    """A batch whose rows are functions of their sample number."""
    rows = [torch.Generator().manual_seed(1000 * seed + start + i) for i in range(size)]
    return {
        "sample": torch.arange(start, start + size),
        "image/student": torch.stack([torch.rand(3, SIZE, SIZE, generator=g, dtype=torch.float64) for g in rows]),
        "text/student": torch.stack([torch.randint(0, VOCAB, (LENGTH,), generator=g) for g in rows]),
        "bad": [],
    }


class TinyLoader:
    """`steps_per_epoch` batches an epoch, a pure function of (epoch, number)."""

    def __init__(self, steps_per_epoch: int = 4, batch_size: int = 8, bad: dict[int, list] | None = None) -> None:
        self.steps_per_epoch, self.batch_size, self.bad = steps_per_epoch, batch_size, bad or {}

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, Any]]:
        for number in range(start, self.steps_per_epoch):
            batch = make_batch(self.batch_size, start=number * self.batch_size, seed=epoch)
            yield {**batch, "bad": self.bad.get(number, [])}
