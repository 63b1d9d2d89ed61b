"""YOLO through ultralytics: an extra (AGPL-3.0), imported when it is asked for and never before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipdistill.errors import UserError
from clipdistill.models.regions.found import Found

LOWEST = 0.05
"""Confidence below which ultralytics doesn't report a box; recipes ask for more by `min_score`."""


class Yolo:
    """A YOLO detector by weights file or by a name that ultralytics knows (the paper's `yolov8x.pt`).

    Its weights are a pickle of the whole model, which can't be opened without running what it asks for.

    Args:
        trust: that is meant.

    Raises:
        UserError: it isn't said to be, ultralytics isn't installed, or the weights can't be opened.
    """

    def __init__(self, weights: str = "yolov8x.pt", device: str = "cpu", trust: bool = False) -> None:
        if trust is not True:
            raise UserError(
                f"`regions.trust`: {weights} is a pickle, and opening it runs what stands in it; set `trust: true` "
                "beside `weights` if you know where it comes from, or use provider detector"
            )
        try:
            from ultralytics import YOLO
        except ImportError as error:
            raise UserError(
                "provider yolo: ultralytics isn't installed; `pip install 'clipdistill[yolo]'` (AGPL-3.0), or use "
                "provider detector"
            ) from error
        try:
            self._model: Any = YOLO(weights)
        except Exception as error:
            raise UserError(
                f"`weights`: {weights} can't be opened ({str(error).splitlines()[0]}); fetch it from ultralytics' "
                "releases and give its path"
            ) from error
        self._device = device
        self.name = f"yolo {Path(weights).stem}"
        # A name such as yolov8x.pt that isn't here was fetched just now: the model knows where to.
        files = [file for file in (Path(weights), Path(str(self._model.ckpt_path))) if file.is_file()]
        if not files:
            raise UserError(f"`weights`: {weights} was opened from no file that could be told apart; give its path")
        self.key = f"yolo-{hashlib.sha256(files[0].read_bytes()).hexdigest()[:16]}-{LOWEST}"

    def find(self, images: Sequence[Image.Image]) -> list[Found]:
        """Boxes of each picture, best first."""
        # ultralytics takes arrays as BGR, PIL pictures as they are.
        results = self._model.predict(list(images), conf=LOWEST, device=self._device, verbose=False)
        found = []
        for result in results:
            boxes = result.boxes
            labels = tuple(result.names[int(number)] for number in boxes.cls.tolist())
            found.append(
                Found(boxes.xyxy.cpu().numpy().astype(np.float32), boxes.conf.cpu().numpy().astype(np.float32), labels)
            )
        return found
