"""A handful of synthetic pictures with their texts, as JPEGs of an ordinary size: what a rehearsal's data hold."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from clipdistill.petri import render, world_pictures
from clipdistill.petri.scenes import SceneRules
from clipdistill.petri.settings import COMPOSITIONAL, DEFAULT_FORMATS, HELD_OUT, WorldSettings, make_settings
from clipdistill.petri.writers import Picture

SIDE = 256
"""Pixels a side: more than most models see, so that decoding and resizing are what they will be."""


class Snapshot(Picture):
    """A picture of the petri world that is kept as a JPEG, as most data sets' are."""

    __slots__ = ()

    @property
    def file_name(self) -> str:
        """Its name in its folder."""
        return f"{self.number:06d}.jpg"


class Handful:
    """Scenes of the petri world, `count` for each of its splits, drawn once.

    Args:
        count: pictures a split. side: pixels.
    """

    def __init__(self, count: int, side: int = SIDE) -> None:
        self.count, self.side = count, side
        self.settings: WorldSettings = make_settings(
            images=count, val=count, test=count, seed=0, formats=DEFAULT_FORMATS, image_size=side, skew="even",
            domain="plain", held_out=HELD_OUT, zero_shot=1, compositional=COMPOSITIONAL,
        )  # fmt: skip
        self._drawn: dict[int, bytes] = {}

    @property
    def rules(self) -> SceneRules:
        """What the scenes were drawn by."""
        return self.settings.rules()

    @cached_property
    def pictures(self) -> list[Snapshot]:
        """All of them: training, val, test."""
        return [Snapshot(each.number, each.split, each.scene, each.captions) for each in world_pictures(self.settings)]

    def of(self, split: str, count: int | None = None) -> list[Snapshot]:
        """Those that stand for a split of any data set, under its name; the first `count`."""
        world = "test" if "test" in split else "val" if "val" in split or "dev" in split else "train"
        world = "train" if split == "restval" else world
        found = [each for each in self.pictures if each.split == world]
        return [replace(each, split=split) for each in found[:count]]

    def jpeg(self, picture: Picture) -> bytes:
        """Its file's content."""
        from PIL import Image

        if picture.number not in self._drawn:
            buffer = io.BytesIO()
            Image.fromarray(self.pixels(picture, self.side)).save(buffer, format="JPEG", quality=90)
            self._drawn[picture.number] = buffer.getvalue()
        return self._drawn[picture.number]

    def pixels(self, picture: Picture, side: int) -> np.ndarray:
        """uint8 [side, side, 3]."""
        return render([picture.scene], side)[0].permute(1, 2, 0).numpy()

    def save(self, folder: Path, pictures: Iterable[Picture], name: str = "{:06d}.jpg") -> None:
        """Write pictures into a folder, named by their number."""
        folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            (folder / name.format(picture.number)).write_bytes(self.jpeg(picture))
