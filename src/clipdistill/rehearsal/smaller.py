"""From a recipe to the one that is rehearsed: the same stages, methods and formats; a few samples, steps and tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.models.fusion.config import ALL, fusion_config
from clipdistill.models.fusion.starting import split_name
from clipdistill.models.loading import HUB
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import validate
from clipdistill.rehearsal.data_files import MEASURED, DataWriter
from clipdistill.rehearsal.handful import Handful
from clipdistill.rehearsal.places import borrow, inside, moved
from clipdistill.runs.derived import trainings
from clipdistill.tasks import find_task

STEPS = 2
BATCH = {"dual_encoder": 8, "fusion": 4, "denoiser": 2, "vlm": 2}
"""Pairs a step, by the largest kind of model that takes part."""
PETRI = {"images": 16, "val": 8, "test": 8, "zero_shot": 1, "compositional": 6}
Values = dict[str, Any]


def smaller_recipe(recipe: Recipe, home: Path) -> tuple[Recipe, list[str]]:
    """The recipe to rehearse, its data written below the current folder.

    Args:
        home: the folder that the command was given in, where the user's own models are looked for.

    Returns:
        it, and what besides numbers differs, a sentence each.

    Raises:
        UserError: data that a rehearsal can't write, in one line.
    """
    values = moved(recipe.model_dump(mode="json"))
    batch = min(recipe.train.batch_size, *(BATCH.get(kind, 8) for kind in kinds_of(recipe)))
    writer = DataWriter(Handful(2 * batch if batch > 4 else 8), 2 * batch, _answers(recipe))
    world = None if recipe.petri is None else str(recipe.petri.path)
    if world is not None:
        values["petri"] |= {key: min(value, values["petri"][key]) for key, value in PETRI.items()}
        values["petri"]["path"] = inside(world)

    def source(each: Values, where: str) -> Values:
        if world is not None and _below(each.get("path"), world):
            small = {key: min(int(each[key]), 2 * batch) for key in ("count", "low_shot") if each.get(key)}
            return {**moved(each), "path": moved(each["path"])} | small
        return writer.source(each, where)

    raw = recipe.model_dump(mode="json")
    _data(values["data"], raw["data"], source, "data")
    _train(values["train"], batch)
    for number, stage in enumerate(values["stages"]):
        if stage.get("data"):
            _data(stage["data"], raw["stages"][number]["data"], source, f"stages.{number}.data")
        if stage.get("train"):
            _train(stage["train"], batch)
    if values["regions"]:
        values["regions"] = writer.regions(raw["regions"])
    values["evaluate"] = [
        _in_world(each)
        if world is not None and _below(_path(each), world)
        else writer.suite(each, f"evaluate.{number}")
        for number, each in enumerate(raw["evaluate"])
    ]
    notes = [*writer.notes, *_models(values, raw, home)]
    return validate(values, f"rehearsal of {recipe.name}"), notes


def kinds_of(recipe: Recipe) -> list[str]:
    """Kinds of models that take part: the student's, and those of teachers that are asked live."""
    found = []
    for each in trainings(recipe):
        task = find_task(each.task.method)
        found.append(task.KIND)
        if each.teachers and not task.OWN_TEACHER and task.TEACHER_KIND in KINDS:
            found.append(task.TEACHER_KIND)
    return list(dict.fromkeys(found))


def _data(values: Values, raw: Values, source: Any, where: str) -> None:
    if raw.get("train"):
        values["train"] = [source(each, f"{where}.train.{number}") for number, each in enumerate(raw["train"])]
    if values.get("workers"):
        values["workers"] = 1


def _train(values: Values, batch: int) -> None:
    """Two steps, a checkpoint after each, and micro-batches where there are some."""
    micro = values.get("micro_batch") and values["micro_batch"] < (
        values.get("batch_size") or values["micro_batch"] + 1
    )
    values |= {"epochs": 1, "max_steps": STEPS, "batch_size": batch, "checkpoint_every": 1, "log_every": 1}
    values["trackers"] = []
    if "micro_batch" in values:
        values["micro_batch"] = (batch // 2 if batch % 2 == 0 else 1) if micro else None


def _in_world(suite: Values) -> Values:
    """A suite on the petri world that the run writes, which has fewer samples now."""
    found: Values = dict(moved(suite))
    if found.get("count"):
        found["count"] = min(int(found["count"]), MEASURED)
    if isinstance(found.get("data"), dict) and found["data"].get("count"):
        found["data"] = {**found["data"], "count": min(int(found["data"]["count"]), MEASURED)}
    return found


def _specs(values: Values) -> list[Values]:
    """Every model that a recipe's values describe."""
    teachers = [each for stage in values["stages"] for each in stage.get("teachers") or ()]
    embeds = [values["regions"]["model"]] if values["regions"] and values["regions"].get("model") else []
    return [values["student"], *values["teachers"], *teachers, *embeds]


def _models(values: Values, raw: Values, home: Path) -> list[str]:
    """Names of the hub as folders here; links to what the user has."""
    notes = []
    for spec, given in zip(_specs(values), _specs(raw), strict=True):
        if given.get("store"):
            spec["store"] = inside(str(given["store"]))
        if spec.get("meta"):
            _train(spec["meta"]["train"], values["train"]["batch_size"])
            spec["meta"] |= {"run": None, "epoch": None}
        if given.get("model"):
            spec["model"] = own_name(given["model"], home)
        for key in ("image_weights", "text_tower"):
            if given.get(key):
                spec[key] = own_name(str(given[key]), home)
        if spec.get("image_weights") and not Path(spec["image_weights"]).exists():
            notes.append(f"{spec['image_weights']}: random weights, for this file isn't here")
            spec["image_weights"] = None
    return notes


def own_name(name: str, home: Path) -> str:
    """A model's name as the rehearsed recipe has it, with what it names among the user's files linked here.

    Files by a whole path stay where they are, and are read; those that aren't there are made inside.
    """
    known = Path(name).expanduser()
    if known.is_absolute() and known.exists():
        return str(known)
    parts = re.split(r"([:+])", name.removeprefix(HUB))
    for place, part in enumerate(parts):
        whole = Path(part).expanduser()
        if whole.is_absolute() or ".." in whole.parts:
            there = (home / whole).resolve()
            parts[place] = str(there) if there.exists() else inside(part)
        elif part:
            borrow(part, home)
    found = "".join(parts)
    borrow(found, home)
    return found


def _answers(recipe: Recipe) -> int:
    """How many answers the student's head gives; 0 where it has none yet."""
    known = split_name(recipe.student.model or "")[0]
    try:
        return fusion_config(known).heads.get("vqa", 0) if known in ALL or known.endswith(".json") else 0
    except UserError:
        return 0


def _path(suite: Values) -> str | None:
    data = suite.get("data")
    return data if isinstance(data, str) or data is None else data.get("path")


def _below(path: Any, world: str) -> bool:
    """Whether a path lies in the petri world that the run writes; a suite without data means that world."""
    paths = [path] if isinstance(path, str) else list(path or [world])
    return all(str(each).partition(":")[2].startswith(world) or str(each).startswith(world) for each in paths)
