"""Run a model over the pictures and captions of a source, in batches, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.evaluate.results import Progress


class Encoder(Protocol):
    """The part of a DualEncoder that evaluation uses."""

    KIND: ClassVar[str]
    name: str
    preprocess: dict[str, Any]
    tokenizer: Callable[[list[str]], Tensor]
    training: bool

    def encode_image(self, pixels: Tensor) -> Tensor: ...
    def encode_text(self, tokens: Tensor) -> Tensor: ...
    def train(self, mode: bool = True) -> Any: ...
    def to(self, device: Any) -> Any: ...


@dataclass(frozen=True)
class Embedded:
    """Pictures as embeddings.

    Attributes:
        features: float32 [n, D] on the CPU, un-normalised, in the order of the source.
        positions: int64 [n], where each stands in the source.
        bad: `{"id", "reason"}` of the pictures that couldn't be read and are left out.
    """

    features: Tensor
    positions: Tensor
    bad: list[dict[str, str]]


@contextmanager
def inference(model: Encoder, device: str | torch.device) -> Iterator[None]:
    """Put the model on the device in eval mode, with bf16 autocast on CUDA; give it back in the mode it came in."""
    was_training = model.training
    model.to(device)
    model.train(False)
    cuda = torch.device(device).type == "cuda"
    try:
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=cuda):
            yield
    finally:
        model.train(was_training)


def embed_images(
    model: Encoder,
    source: Any,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    workers: int = 0,
    squash: bool = False,
    progress: Progress | None = None,
) -> Embedded:
    """Embed every picture of a Source or Mixture, through the model's own preprocessing.

    squash: take whole pictures to the model's input, whatever their shape, where the preprocessing cuts to the middle.

    Raises:
        UserError: none of the pictures can be read.
    """
    batches = picture_batches(model, source, batch_size, workers, squash)
    return embed_batches(model, batches, total=len(source), device=device, progress=progress)


def picture_batches(
    model: Encoder, source: Any, batch_size: int, workers: int = 0, squash: bool = False
) -> Iterable[Mapping[str, Any]]:
    """Batches of a source's pictures, as `embed_batches` takes them; `squash` as in `embed_images`."""
    from clipdistill.data.loader import evaluation_batches
    from clipdistill.data.transforms import ImageView

    view = ImageView.from_preprocess(model.preprocess)
    view = replace(view, resize_mode="squash") if squash else view
    return evaluation_batches(source, view, batch_size, workers)


def embed_batches(
    model: Encoder,
    batches: Iterable[Mapping[str, Any]],
    *,
    total: int,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Embedded:
    """Embed batches that hold `"sample"` [B], `"image/model"` uint8 [B, 3, H, W] and perhaps `"bad"`."""
    features: list[Tensor] = []
    positions: list[Tensor] = []
    bad: list[dict[str, str]] = []
    done = 0
    with inference(model, device):
        for batch in batches:
            bad.extend({"id": str(item["id"]), "reason": str(item["reason"])} for item in batch.get("bad", ()))
            pixels = batch.get("image/model")
            if pixels is not None and len(pixels):
                features.append(model.encode_image(pixels.to(device)).float().cpu())
                positions.append(torch.as_tensor(batch["sample"], dtype=torch.int64))
                done += len(pixels)
            if progress:
                progress("pictures", done + len(bad), total)
    if not features:
        first = f"; the first: {bad[0]['id']}: {bad[0]['reason']}" if bad else ""
        raise UserError(f"evaluation: none of the {total} pictures could be read{first}")
    # `.clone()` after the block, because tensors made in inference mode can't be used in autograd later.
    return Embedded(torch.cat(features).clone(), torch.cat(positions), bad)


def embed_texts(
    model: Encoder,
    texts: Sequence[str],
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Tensor:
    """Embed texts into float32 [M, D] on the CPU, un-normalised.

    Equal texts are encoded once and share one row's values, bit for bit: a tie between equal captions stays a tie.
    """
    slots: dict[str, int] = {}
    index = torch.tensor([slots.setdefault(text, len(slots)) for text in texts], dtype=torch.int64)
    different = list(slots)
    features: list[Tensor] = []
    with inference(model, device):
        for at in range(0, len(different), batch_size):
            tokens = model.tokenizer(different[at : at + batch_size])
            features.append(model.encode_text(tokens.to(device)).float().cpu())
            if progress:
                progress("texts", min(at + batch_size, len(different)), len(different))
    if not features:
        raise UserError("evaluation: there are no texts to encode; name a source that has captions")
    return torch.cat(features).clone()[index]
