"""Augmentations that replay: what happens to view number v of a sample is a pure function of (seed, sample id, v).

A teacher's stored targets for view 3 of a sample therefore stay valid: whoever asks for view 3 again, at whatever size,
gets the same crop (the idea of dataset reinforcement in MobileCLIP, where the record is stored; here it need not be).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass

from clipdistill.data.draws import turn, uniforms
from clipdistill.errors import UserError

_VERSION = 1  # goes into the fingerprint: raise it when records, or what is made of them, change


@dataclass(frozen=True, slots=True)
class AugmentRecord:
    """Everything random about one view of one sample. `area` None means no crop: the evaluation geometry.

    `aspect`, `x`, `y` are quantiles in [0, 1): a record knows nothing of the picture's size until `box` is asked.
    """

    area: float | None = None
    ratio: tuple[float, float] = (1.0, 1.0)
    aspect: float = 0.0
    x: float = 0.0
    y: float = 0.0
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    grayscale: bool = False

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return the crop (left, top, right, bottom) in pixels of a picture of this size; the whole when no crop.

        The aspect is drawn, log-uniform, from the part of `ratio` for which a crop of this area fits inside: what
        torchvision's RandomResizedCrop reaches by trying up to ten times. Where none fits, the largest crop of the
        nearest allowed aspect is taken.
        """
        if self.area is None:
            return (0.0, 0.0, float(width), float(height))
        shape = width / height
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        fit_low, fit_high = math.log(shape * self.area), math.log(shape / self.area)
        if fit_low <= high and low <= fit_high:
            low, high = max(low, fit_low), min(high, fit_high)
            aspect = math.exp(low + (high - low) * self.aspect)
            crop_width = min(math.sqrt(self.area * width * height * aspect), width)
            crop_height = min(math.sqrt(self.area * width * height / aspect), height)
        else:
            aspect = self.ratio[1] if fit_low > high else self.ratio[0]
            crop_width, crop_height = min(width, height * aspect), min(height, width / aspect)
        left, top = self.x * (width - crop_width), self.y * (height - crop_height)
        return (left, top, min(left + crop_width, width), min(top + crop_height, height))


@dataclass(frozen=True)
class AugmentPlan:
    """What may happen to a picture, and how many stored ways (`views`) of it there are.

    crop_scale: share of the picture's area kept by a random crop, e.g. (0.9, 1.0); None = no crop.
    crop_ratio: width / height of the crop, least and most.
    flip, grayscale: probabilities. jitter: brightness, contrast and saturation are each multiplied by a factor from
    [1 - jitter, 1 + jitter], with probability jitter_probability.
    views: K augmentations a sample, all shown before one comes again; None = a fresh one each epoch.
    """

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: float = 0.0
    jitter_probability: float = 1.0
    grayscale: float = 0.0
    views: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("crop_scale", "crop_ratio"):
            pair = getattr(self, name)
            if pair is not None:
                object.__setattr__(self, name, tuple(float(number) for number in pair))  # YAML gives lists
        if self.crop_scale is not None and not (
            len(self.crop_scale) == 2 and 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1
        ):
            raise UserError(f"crop_scale {self.crop_scale} should be two shares, 0 < least <= most <= 1")
        if len(self.crop_ratio) != 2 or not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise UserError(f"crop_ratio {self.crop_ratio} should be two positive numbers, least first")
        for name in ("flip", "jitter", "jitter_probability", "grayscale"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it should lie between 0 and 1")
        if self.views is not None and self.views < 1:
            raise UserError(f"views is {self.views}; it should be at least 1, or null for a fresh one each epoch")

    @property
    def identity(self) -> bool:
        """True when nothing is ever changed: every view is the evaluation transform."""
        return self.crop_scale is None and not (self.flip or self.jitter * self.jitter_probability or self.grayscale)

    @property
    def count(self) -> int | None:
        """How many distinct views a sample has: 1 without augmentation, `views` with, None without end."""
        return 1 if self.identity else self.views

    def record(self, sample_id: str, view: int) -> AugmentRecord:
        """Return what view number `view` of this sample looks like; a pure function of (seed, sample id, view)."""
        if self.identity:
            return AugmentRecord()
        u = uniforms(self.seed, "augment", sample_id, view)
        jitter = self.jitter if u[5] < self.jitter_probability else 0.0
        return AugmentRecord(
            area=None if self.crop_scale is None else _between(*self.crop_scale, u[0]),
            ratio=self.crop_ratio,
            aspect=u[1],
            x=u[2],
            y=u[3],
            flip=u[4] < self.flip,
            brightness=_between(1 - jitter, 1 + jitter, u[6]),
            contrast=_between(1 - jitter, 1 + jitter, u[7]),
            saturation=_between(1 - jitter, 1 + jitter, u[8]),
            grayscale=u[9] < self.grayscale,
        )

    def view_of(self, sample_id: str, epoch: int) -> int:
        """Return which view this epoch shows: each of the K once in any K epochs from a multiple of K on."""
        if self.identity:
            return 0
        return epoch if self.views is None else turn(self.views, epoch, self.seed, "view", sample_id)

    def fingerprint(self) -> str:
        """Hash of all that decides a view. Plans without augmentation are all alike, whatever their seed."""
        facts = {"version": _VERSION} if self.identity else {"version": _VERSION, **asdict(self)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _between(low: float, high: float, u: float) -> float:
    return low + (high - low) * u
