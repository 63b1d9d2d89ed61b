"""From what a rehearsal's stages took to what the real run's will take on this machine, by how much more there is to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipdistill.recipe import Recipe
from clipdistill.rehearsal.measuring import Measured, Measuring
from clipdistill.rehearsal.sizes import UNKNOWN, true_size
from clipdistill.runs.derived import control_recipe, teacher_recipe, trainings
from clipdistill.runs.stages import Cache, Evaluate, FindRegions, Fit, Targets


@dataclass(frozen=True)
class Scaled:
    """Seconds, and bytes of memory and disk, that a stage of the real run takes on this machine."""

    seconds: float
    memory: float
    disk: float


def scale(recipe: Recipe, measuring: Measuring) -> dict[str, Scaled]:
    """What each measured stage will take in the run of the true recipe.

    A training's time is that of the plan's timed step, as long a pair, for all pairs; its activations grow with the
    pairs that are encoded at once. What goes through all samples grows with them. The rest is as measured.
    """
    found = {}
    for label, one in measuring.found.items():
        if one.stage is None:
            continue
        found[label] = _stage(recipe, measuring, one)
    return found


def samples(recipe: Recipe) -> tuple[int, bool]:
    """Samples of a recipe's training, an epoch, and whether all of its data sets are of known size."""
    sizes = [(true_size(each.model_dump(mode="json")), each.repeat) for each in recipe.data.train]
    return sum(count * often for (count, _), often in sizes), all(known for (_, known), _ in sizes)


def unknown_sizes(recipe: Recipe) -> list[str]:
    """A sentence for each training source whose size isn't known."""
    paths = [each.path for training in trainings(recipe) for each in training.data.train
             if not true_size(each.model_dump(mode="json"))[1]]  # fmt: skip
    said = f"the real run's time is of {UNKNOWN:,} samples of it"
    return [f"{path}: its size isn't known here; {said}" for path in dict.fromkeys(map(str, paths))]


def _stage(recipe: Recipe, measuring: Measuring, one: Measured) -> Scaled:
    stage, memory = one.stage, float(one.memory)
    if isinstance(stage, Fit):
        return _fit(recipe, measuring, one, stage)
    if isinstance(stage, Cache | FindRegions | Targets):
        had = len(stage.parts.data.whole if isinstance(stage, FindRegions) else stage.parts.data.mixture)
        more = samples(trainings(recipe)[-1])[0] / max(1, had)
        cost = one.forecast
        seconds = cost.seconds if cost is not None and cost.seconds else one.seconds
        return Scaled(seconds * more, memory, (cost.disk_bytes if cost is not None else one.disk) * more)
    if isinstance(stage, Evaluate):
        had = sum(_length(each.opened) for each in stage.evaluations)
        real = sum(_measured(each) for each in recipe.model_dump(mode="json")["evaluate"])
        return Scaled(one.seconds * real / max(1, had), memory, one.disk)
    return Scaled(one.seconds, memory, one.disk)


def _fit(recipe: Recipe, measuring: Measuring, one: Measured, stage: Fit) -> Scaled:
    small, real = stage.parts.recipe, _original(recipe, measuring, stage)
    count, _ = samples(real)
    steps = count * real.train.epochs // real.train.batch_size
    steps = max(1, min(steps, real.train.max_steps or steps))
    cost = one.forecast
    seconds = cost.seconds if cost is not None else one.seconds
    seconds *= steps * real.train.batch_size / (stage.steps * small.train.batch_size)
    epochs = max(1, steps * real.train.batch_size // max(1, count)) if real.train.keep_epochs else 1
    held = cost.memory_bytes if cost is not None else one.memory
    moments = 12 * stage.trainable  # two moments and the gradient stay as they are, whatever the batch
    activations = max(0.0, held - measuring.resident - moments)
    at_once = [each.micro_batch or each.batch_size for each in (real.train, small.train)]
    disk = cost.disk_bytes if cost is not None else one.disk
    return Scaled(
        seconds, held + activations * (at_once[0] / at_once[1] - 1), disk + 4 * stage.parameters * (epochs - 1)
    )


def _original(recipe: Recipe, measuring: Measuring, stage: Fit) -> Recipe:
    """The true recipe of a training of the rehearsal's chain."""
    parts = trainings(recipe)
    if stage.label == "control":
        return control_recipe(parts[-1])
    metas = [spec.meta for each in parts for spec in each.teachers if spec.meta is not None]
    if stage.label == "teacher" and metas:
        return teacher_recipe(parts[-1], metas[0])
    assert measuring.chain is not None
    labels = [fit.label for fit in measuring.chain.fits]
    return parts[min(labels.index(stage.label), len(parts) - 1)]


def _measured(suite: dict[str, Any]) -> int:
    """Samples that a suite of the true recipe measures on."""
    return true_size({"path": suite.get("data")} if not isinstance(suite.get("data"), dict) else suite["data"])[0]


def _length(opened: Any) -> int:
    """Samples in what a suite has opened."""
    if isinstance(opened, dict):
        return sum(_length(each) for each in opened.values())
    if isinstance(opened, list):
        return sum(_length(getattr(each, "source", each)) for each in opened)
    for name in ("questions", "test", "groups", "parts"):
        if hasattr(opened, name):
            found = getattr(opened, name)
            return _length(found) if name == "parts" else len(found)
    return len(opened) if hasattr(opened, "__len__") else 1
