"""From what a rehearsal's stages took to what the real run's will take on this machine: there is more to do."""

from __future__ import annotations

from dataclasses import dataclass

from clipdistill.recipe import Recipe
from clipdistill.rehearsal.facts import Facts
from clipdistill.rehearsal.measuring import Measured, Measuring
from clipdistill.rehearsal.sizes import UNKNOWN, true_size
from clipdistill.runs.derived import control_recipe, teacher_recipe, trainings
from clipdistill.runs.stages.base import Forecast


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
    return {
        label: _stage(recipe, measuring, label, one) for label, one in measuring.found.items() if one.facts is not None
    }


def samples(recipe: Recipe) -> tuple[int, bool]:
    """Samples of a recipe's training, an epoch, and whether all of its data sets are of known size."""
    sizes = [(true_size(each.model_dump(mode="json"), recipe.petri), each.repeat) for each in recipe.data.train]
    return sum(count * often for (count, _), often in sizes), all(known for (_, known), _ in sizes)


def unknown_sizes(recipe: Recipe) -> list[str]:
    """A sentence for each training source whose size isn't known."""
    paths = [each.path for training in trainings(recipe) for each in training.data.train
             if not true_size(each.model_dump(mode="json"), training.petri)[1]]  # fmt: skip
    said = f"the real run's time is of {UNKNOWN:,} samples of it"
    return [f"{path}: its size isn't known here; {said}" for path in dict.fromkeys(map(str, paths))]


def _stage(recipe: Recipe, measuring: Measuring, label: str, one: Measured) -> Scaled:
    facts, cost = one.facts or Facts(), one.forecast
    if facts.steps and cost is not None:
        return _fit(_original(recipe, measuring, label), measuring.resident, facts, cost)
    more = 1.0
    if facts.measured:
        suites = recipe.model_dump(mode="json")["evaluate"]
        more = sum(true_size(each.get("data"), recipe.petri)[0] for each in suites) / max(1, facts.samples)
    elif facts.samples:
        more = samples(trainings(recipe)[-1])[0] / facts.samples
    told = cost is not None and not facts.measured  # of an evaluation the forecast is of its regions alone
    seconds = cost.seconds if told and cost is not None and cost.seconds else one.seconds
    disk = cost.disk_bytes if told and cost is not None else one.disk
    return Scaled(seconds * more, float(one.memory), disk * (1 if facts.measured else more))


def _fit(real: Recipe, resident: float, facts: Facts, cost: Forecast) -> Scaled:
    settings, (count, _) = real.train, samples(real)
    steps = count * settings.epochs // settings.batch_size
    steps = max(1, min(steps, settings.max_steps or steps))
    pairs = steps * settings.batch_size
    epochs = max(1, pairs // max(1, count)) if settings.keep_epochs else 1
    moments = 12 * facts.trainable  # two moments and the gradient stay as they are, whatever the batch
    activations = max(0.0, cost.memory_bytes - resident - moments)
    at_once = (settings.micro_batch or settings.batch_size) / facts.at_once
    return Scaled(
        cost.seconds * pairs / (facts.steps * facts.batch), cost.memory_bytes + activations * (at_once - 1),
        cost.disk_bytes + 4 * facts.parameters * (epochs - 1),
    )  # fmt: skip


def _original(recipe: Recipe, measuring: Measuring, label: str) -> Recipe:
    """The true recipe of a training of the rehearsal's chain."""
    parts = trainings(recipe)
    if label == "control":
        return control_recipe(parts[-1])
    metas = [spec.meta for each in parts for spec in each.teachers if spec.meta is not None]
    if label == "teacher" and metas:
        return teacher_recipe(parts[-1], metas[0])
    return parts[min(measuring.fits.index(label), len(parts) - 1)]
