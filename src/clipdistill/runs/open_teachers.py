"""Opening a recipe's teachers: live models, or what their stores say where the weights aren't here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.recipe import Recipe, TeacherSpec
from clipdistill.recipe_files import recipe_of_run
from clipdistill.runs.checks import task_options
from clipdistill.runs.question_teachers import QuestionTeacher
from clipdistill.runs.teachers import TeacherState, has_store
from clipdistill.tasks import find_task


def open_teachers(recipe: Recipe, student: Any) -> list[TeacherState]:
    """Open the teachers of a training; one whose store is written can do without its weights.

    Args:
        student: the model that the training starts with, which is the teacher where the task says so.

    Raises:
        UserError: no weights, and no store either; a store asked of a kind that has nothing to store.
    """
    task = find_task(recipe.task.method)
    specs = recipe.teachers
    if task.OWN_TEACHER and not specs and task.TEACHERS[0]:
        specs = [TeacherSpec.model_validate(recipe.student.model_dump())]
    if task.OWN_TEACHER:
        # Live towers of its own are no teacher: the task asks its student for them.
        own = [spec for spec in specs if task.TEACHERS[0] or spec.store is not None]
        return [TeacherState(spec, index, task.FEATURES, student) for index, spec in enumerate(own)]
    return [_open(spec, index, recipe) for index, spec in enumerate(specs)]


def train_first(label: str) -> str | None:
    """How to make a run that isn't there, where it is one of a recipe that comes with the package."""
    first = None if Path(label).exists() else recipe_of_run(label)
    return f"{label} isn't there; train it first: clipdistill train {first} --out {label}" if first else None


def _open(spec: TeacherSpec, index: int, recipe: Recipe) -> TeacherState:
    task = find_task(recipe.task.method)
    if spec.meta is not None:
        return TeacherState(spec, index, task.FEATURES, None)  # the run makes it
    kind = KINDS[task.TEACHER_KIND]
    if spec.store is not None and not kind.storable:
        raise UserError(
            f"`teachers.{index}.store`: a {kind.name} has no targets to store (captions are kept once encoded); "
            "remove it"
        )
    try:
        model, missing = kind.open(spec, bf16=recipe.train.precision == "bf16", role=f"teacher{index}"), None
    except UserError as error:
        if not has_store(spec):
            raise UserError(f"`teachers.{index}`: {train_first(spec.label) or error}") from error
        model, missing = None, error
    if task.FEATURES == "questions":
        options = task.stored_options(task_options(recipe))
        return QuestionTeacher(spec, index, task.FEATURES, model, None, missing, options)
    return TeacherState(spec, index, task.FEATURES, model, missing=missing)
