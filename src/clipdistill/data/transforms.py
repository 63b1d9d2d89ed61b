"""Picture -> uint8 tensor at a model's size: open_clip's evaluation transform, or an augmented view by its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance

from clipdistill.data.augment import AugmentPlan, AugmentRecord
from clipdistill.data.decode import ORIGINAL_SIZE
from clipdistill.errors import UserError, nearest

__all__ = ["AugmentPlan", "AugmentRecord", "ImageView", "apply", "apply_array", "decode_size"]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_MODES = ("shortest", "longest", "squash")


@dataclass(frozen=True)
class ImageView:
    """How one model wants its pictures. `size` is (height, width); the fields mean what open_clip means by them."""

    size: tuple[int, int]
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    fill_color: int = 0

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise UserError(f"image size {self.size} should be two positive numbers (height, width)")
        if self.resize_mode not in _MODES:
            raise UserError(f"resize_mode '{self.resize_mode}' is none of {_MODES}.{nearest(self.resize_mode, _MODES)}")
        if self.interpolation not in _FILTERS:
            raise UserError(f"interpolation '{self.interpolation}' is none of {tuple(_FILTERS)}")

    @classmethod
    def from_preprocess(cls, cfg: Mapping[str, Any]) -> ImageView:
        """Read open_clip's `preprocess_cfg` (size, resize_mode, interpolation, fill_color; the rest is ignored)."""
        size = cfg.get("size", 224)
        pair = (size, size) if isinstance(size, int) else tuple(size) if len(size) == 2 else (size[0], size[0])
        interpolation = cfg.get("interpolation") or "bicubic"
        return cls(
            size=(int(pair[0]), int(pair[1])),
            resize_mode=cfg.get("resize_mode") or "shortest",
            interpolation="bicubic" if interpolation == "random" else interpolation,
            fill_color=int(cfg.get("fill_color") or 0),
        )


def apply(image: Image.Image, record: AugmentRecord | None, view: ImageView) -> torch.Tensor:
    """Return `image` (RGB) as one model sees it: uint8 [3, H, W].

    `record` None is the evaluation transform: pixel for pixel what open_clip's `image_transform(..., is_train=False)`
    gives before ToTensor and Normalize. A record with a crop resizes the crop to the view's size whatever its
    `resize_mode`, as open_clip's training transform does.
    """
    return torch.from_numpy(apply_array(image, record, view).transpose(2, 0, 1).copy())


def apply_array(image: Image.Image, record: AugmentRecord | None, view: ImageView) -> np.ndarray:
    """`apply` as uint8 [H, W, 3], without the cost of a tensor."""
    if record is None:
        return np.asarray(_evaluation(image, view))
    image = _evaluation(image, view) if record.area is None else _crop(image, record, view)
    if record.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if record.brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(record.brightness)
    if record.contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(record.contrast)
    if record.grayscale:
        image = image.convert("L").convert("RGB")
    elif record.saturation != 1:
        image = ImageEnhance.Color(image).enhance(record.saturation)
    return np.asarray(image)


def decode_size(record: AugmentRecord | None, view: ImageView) -> int:
    """Return the `min_size` with which a picture may be decoded so that this view loses nothing that shows."""
    # A crop of area share a has sides of at least share a; half as much again keeps the resampling filter honest.
    area = 1.0 if record is None or record.area is None else record.area
    return math.ceil(1.5 * max(view.size) / area)


def _crop(image: Image.Image, record: AugmentRecord, view: ImageView) -> Image.Image:
    full = image.info.get(ORIGINAL_SIZE, image.size)
    box = record.box(*full)
    if full != image.size:  # decoded smaller: the same share of the picture
        across, down = image.width / full[0], image.height / full[1]
        box = (box[0] * across, box[1] * down, min(box[2] * across, image.width), min(box[3] * down, image.height))
    size = (view.size[1], view.size[0])
    if image.size == size and box == (0.0, 0.0, float(size[0]), float(size[1])):
        return image
    return image.resize(size, _FILTERS[view.interpolation], box=box, reducing_gap=3.0)


def _evaluation(image: Image.Image, view: ImageView) -> Image.Image:
    height, width = view.size
    if image.size == (width, height):
        return image
    resample = _FILTERS[view.interpolation]
    if view.resize_mode == "squash":
        return image.resize((width, height), resample)
    if view.resize_mode == "shortest" and height == width:
        short, long = sorted(image.size)
        long = int(width * long / short)  # truncated, as torchvision does
        scaled = (width, long) if image.width <= image.height else (long, width)
    else:
        pick = max if view.resize_mode == "longest" else min
        factor = pick(image.height / height, image.width / width)
        scaled = (round(image.width / factor), round(image.height / factor))
        if view.resize_mode == "shortest":
            resample = Image.Resampling.BICUBIC  # open_clip's choice for sizes that aren't square
    if scaled != image.size:
        image = image.resize(scaled, resample)
    return _center(image, width, height, view.fill_color if view.resize_mode == "longest" else 0)


def _center(image: Image.Image, width: int, height: int, fill: int) -> Image.Image:
    """Cut or pad to (width, height) about the middle, rounding halves to even when cutting, up-left when padding."""
    if image.width < width or image.height < height:
        canvas = Image.new("RGB", (max(width, image.width), max(height, image.height)), (fill, fill, fill))
        canvas.paste(image, (max(0, (width - image.width) // 2), max(0, (height - image.height) // 2)))
        image = canvas
    if image.size == (width, height):
        return image
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
