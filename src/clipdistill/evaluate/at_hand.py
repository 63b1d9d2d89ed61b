"""Embedding what one has at hand: pictures by path or in memory, and texts, as unit vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from clipdistill.data import BadImage, ImageRef
from clipdistill.data.decode import upright_rgb
from clipdistill.data.transforms import ImageView, apply
from clipdistill.errors import UserError
from clipdistill.evaluate import embed

Picture = str | os.PathLike[str] | bytes | Image.Image


def embed_images(model: Any, pictures: Sequence[Picture] | Picture, *, batch_size: int = 64) -> Tensor:
    """Embed pictures as unit vectors, prepared as the model wants them, without gradients.

    Args:
        model: a dual encoder, as `load_model` gives it; it stays where it is, and its training mode too.
        pictures: paths, encoded bytes or PIL pictures of any size and mode; one alone stands for a list of it.

    Returns:
        float32 [N, D] on the CPU; `embed_images(...) @ embed_texts(...).T` are cosines.

    Raises:
        UserError: a picture that can't be read (names it), or none at all.
    """
    if isinstance(pictures, str | os.PathLike | bytes | Image.Image):
        pictures = [pictures]
    if not len(pictures):
        raise UserError("embed_images: there are no pictures")
    view, device = ImageView.from_preprocess(model.preprocess), next(model.parameters()).device
    found: list[Tensor] = []
    with embed.inference(model, device):
        for at in range(0, len(pictures), batch_size):
            pixels = [
                apply(_opened(one, at + number), None, view)
                for number, one in enumerate(pictures[at : at + batch_size])
            ]
            found.append(normalize(model.encode_image(torch.stack(pixels).to(device)).float(), dim=-1).cpu())
    return torch.cat(found).clone()  # what is made in inference mode can't be used in autograd later


def embed_texts(model: Any, texts: Sequence[str] | str, *, batch_size: int = 256) -> Tensor:
    """Embed texts as unit vectors, without gradients; arguments as in `embed_images`. float32 [N, D] on the CPU.

    Raises:
        UserError: no texts.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    device = next(model.parameters()).device
    return normalize(embed.embed_texts(model, texts, device=device, batch_size=batch_size), dim=-1)


def _opened(picture: Picture, number: int) -> Image.Image:
    if isinstance(picture, Image.Image):
        return upright_rgb(picture)
    where = picture if isinstance(picture, bytes) else str(Path(picture).expanduser())
    try:
        return ImageRef(where).open()
    except BadImage as error:
        raise UserError(f"picture {number}: {error}") from error
