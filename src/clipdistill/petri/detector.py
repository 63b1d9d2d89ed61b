"""A simulated object detector: the true boxes, jittered, sometimes missed or misnamed, with confidences, and ghosts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipdistill.petri.draws import Draws, stream
from clipdistill.petri.render import boxes
from clipdistill.petri.scenes import Scene
from clipdistill.petri.vocabulary import SHAPES

MISS = {"small": 0.12, "large": 0.03}  # share of objects that get no box
WRONG = 0.04  # share of boxes with another shape's name
GHOSTS = 0.15  # share of pictures with a box where nothing is
JITTER = 0.05  # standard deviation of a box side, in box sides


@dataclass(frozen=True, slots=True)
class Detection:
    """One detected box: xyxy in pixels, the shape's name, a confidence in (0, 1)."""

    box: tuple[float, float, float, float]
    label: str
    score: float


def detect(scene: Scene, size: int) -> list[Detection]:
    """Return what the simulated detector finds in `scene` at `size` x `size` pixels, best first.

    A pure function of scene and size. Confidence falls with the jitter of the box, is lower for small objects and
    for wrong names, and ghosts score lowest, so that thresholds on it behave as with a real detector.
    """
    draws = Draws(stream("detector", scene.grain, scene.key()), 96)
    found: list[Detection] = []
    for thing, box in zip(scene.things, boxes(scene, size), strict=True):
        miss, wrong, other = draws.chance(MISS[thing.size]), draws.chance(WRONG), draws.integer(len(SHAPES) - 1)
        shift, noise = draws.normal(4) * JITTER, float(draws.normal(1)[0])
        if miss:
            continue
        sides = np.array([box[2] - box[0], box[3] - box[1]] * 2)
        jittered = np.clip(box + shift * sides, 0.0, float(size))
        label = [shape for shape in SHAPES if shape != thing.shape][other] if wrong else thing.shape
        logit = 3.0 - 12.0 * float(np.abs(shift).mean()) - (thing.size == "small") * 0.8 - wrong * 2.0 + 0.4 * noise
        found.append(_detection(jittered, label, logit))
    if draws.chance(GHOSTS):
        width, height, x, y = draws.take(4)
        width, height = (0.1 + 0.2 * np.array([width, height])) * size
        x, y = x * (size - width), y * (size - height)
        label = SHAPES[draws.integer(len(SHAPES))]
        found.append(_detection(np.array([x, y, x + width, y + height]), label, -1.5 + 0.7 * float(draws.normal(1)[0])))
    return sorted(found, key=lambda detection: -detection.score)


def _detection(box: np.ndarray, label: str, logit: float) -> Detection:
    x0, y0, x1, y1 = (round(float(value), 2) for value in box)
    return Detection((x0, y0, x1, y1), label, round(1.0 / (1.0 + float(np.exp(-logit))), 4))
