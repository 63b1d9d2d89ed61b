"""What a stage of a run works through, in numbers: kept where the stage itself, with its models, isn't."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipdistill.runs.stages import Cache, Evaluate, FindRegions, Fit, Stage, Targets


@dataclass(frozen=True)
class Facts:
    """Of a stage of the rehearsed run.

    samples: what it goes through once, pictures or pairs; 0 = what it takes doesn't depend on them. measured: whether
    these are what suites measure on, and not the training's. Of a training: steps, pairs a step and at once, weights,
    and weights that train.
    """

    samples: int = 0
    measured: bool = False
    steps: int = 0
    batch: int = 0
    at_once: int = 0
    parameters: int = 0
    trainable: int = 0


def facts_of(stage: Stage) -> Facts:
    """The numbers of a stage; of a training once it was forecast."""
    if isinstance(stage, Fit):
        settings = stage.parts.recipe.train
        if not hasattr(stage, "steps"):
            return Facts()
        return Facts(
            len(stage.parts.data.mixture), False, stage.steps, settings.batch_size,
            settings.micro_batch or settings.batch_size, stage.parameters, stage.trainable,
        )  # fmt: skip
    if isinstance(stage, FindRegions):
        return Facts(len(stage.parts.data.whole))
    if isinstance(stage, Cache | Targets):
        return Facts(len(stage.parts.data.mixture))
    if isinstance(stage, Evaluate):
        return Facts(sum(_length(each.opened) for each in stage.evaluations), True)
    return Facts()


def _length(opened: Any) -> int:
    """Samples in what a suite has opened."""
    if isinstance(opened, dict):
        return sum(_length(each) for each in opened.values())
    if isinstance(opened, list):
        return sum(_length(getattr(each, "source", each)) for each in opened)
    for name in ("parts", "questions", "groups", "test"):
        if hasattr(opened, name):
            found = getattr(opened, name)
            return _length(found) if name == "parts" else len(found)
    return len(opened) if hasattr(opened, "__len__") else 1
