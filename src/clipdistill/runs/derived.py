"""Recipes that follow from a recipe: of each training in its chain."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from clipdistill.errors import UserError, explain
from clipdistill.recipe import MetaSpec, Recipe, StageSpec
from clipdistill.recipe_files import merge
from clipdistill.tasks import find_task

TRAINING_ONLY: dict[str, Any] = {"stages": [], "evaluate": [], "compare": [], "paper": None}


def stage_recipe(recipe: Recipe, spec: StageSpec) -> Recipe:
    """One of the recipe's `stages` as a recipe of its own.

    Raises:
        UserError: keys that don't make a recipe.
    """
    values = recipe.model_dump() | TRAINING_ONLY | {"name": f"{recipe.name} ({spec.name})"}
    for key in ("task", "teachers"):
        if getattr(spec, key) is not None:
            values[key] = spec.model_dump()[key]
    for key in ("data", "train"):
        values[key] = merge(values[key], getattr(spec, key) or {})
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"`stages`: {spec.name}: {explain(error, Recipe)}") from error


def control_recipe(recipe: Recipe) -> Recipe:
    """The same student, data, seed and training, with the task loss alone."""
    values = recipe.model_dump() | TRAINING_ONLY
    task = find_task(recipe.task.method).control(recipe.task.options())
    values |= {"name": f"{recipe.name} (control)", "regions": None, "teachers": [], "task": task}
    values["train"]["keep_epochs"] = False
    # The control sees the same views, though it has no store that fixes their number.
    if values["data"]["augment"]["views"] is None and any(teacher.store for teacher in recipe.teachers):
        values["data"]["augment"]["views"] = 1
    return Recipe.model_validate(values)


def teacher_recipe(recipe: Recipe, meta: MetaSpec) -> Recipe:
    """The training of a teacher that the run makes for itself: same data and seed, its own task and settings.

    The model of every epoch is kept: each is a teacher.
    """
    values = recipe.model_dump() | TRAINING_ONLY
    values |= {
        "name": f"{recipe.name} (teacher)",
        "teachers": [],
        "task": meta.task.model_dump(),
        "train": meta.train.model_dump() | {"keep_epochs": True},
    }
    return Recipe.model_validate(values)


def trainings(recipe: Recipe) -> list[Recipe]:
    """The student's trainings in order: the recipe's stages, or the recipe itself."""
    return [stage_recipe(recipe, spec) for spec in recipe.stages] or [recipe]
