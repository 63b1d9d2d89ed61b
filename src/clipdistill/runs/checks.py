"""Everything about a recipe that can be checked before a file is opened."""

from __future__ import annotations

from typing import Any

from clipdistill.errors import UserError
from clipdistill.models.regions import check_provider
from clipdistill.recipe import MetaSpec, Recipe, RegionSpec
from clipdistill.runs.derived import control_recipe, teacher_recipe, trainings
from clipdistill.runs.folder import trained_epoch
from clipdistill.tasks import find_task


def check_recipe(recipe: Recipe, world_size: int = 1) -> None:
    """Check methods, terms, options, numbers of teachers and batches of every training in the recipe's chain.

    Raises:
        UserError: in one line that names the field.
    """
    if recipe.regions is not None:
        _check_regions(recipe, recipe.regions)
    names = [spec.name for spec in recipe.stages]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"`stages`: two of them are called {name!r}; each has a folder of its own")
    parts = trainings(recipe)
    for number, each in enumerate(parts):
        try:
            check_training(each, world_size)
        except UserError as error:
            raise UserError(f"`stages`: {names[number]}: {error}" if names else str(error)) from error
    if len({find_task(each.task.method).KIND for each in parts}) > 1:
        raise UserError("`stages`: their methods train models of different kinds, so none can start from another")
    metas = [spec.meta for each in parts for spec in each.teachers if spec.meta is not None]
    if any(meta != metas[0] for meta in metas):
        raise UserError("`stages`: their meta-teachers differ, and a run makes one; give each a run of its own")
    if "control" in recipe.compare:
        check_training(control_recipe(parts[-1]), world_size)


def _check_regions(recipe: Recipe, spec: RegionSpec) -> None:
    kind, options = find_task(recipe.task.method).KIND, spec.options()
    try:
        check_provider({"provider": spec.provider, **options})
        lacking = [name for name in ("layout", "path") if spec.provider == "files" and name not in options]
        if lacking:
            raise UserError(f"`{lacking[0]}` is missing: say which file, such as {{layout: tsv, path: FILE}}")
    except UserError as error:
        raise UserError(f"`regions`: {error}") from error
    embedded = spec.features == "crops" and spec.provider != "files"
    if kind == "dual_encoder" and not embedded:
        field = "provider" if spec.provider == "files" else "features"
        raise UserError(f"`regions.{field}`: regions are compared with texts here, so crops are embedded; remove it")
    if spec.provider == "files":
        if spec.model is not None or spec.features == "map" or spec.crop != "resize":
            raise UserError("`regions.provider`: files have their features; remove `model`, `features` and `crop`")
    elif spec.model is None and kind != "dual_encoder":
        raise UserError(f"`regions.model` is missing: a {kind} student embeds no regions; name a CLIP that does")


def check_training(recipe: Recipe, world_size: int = 1) -> None:
    """Check one training.

    Raises:
        UserError: unknown method, term or option; too few or too many teachers; a batch that doesn't divide.
    """
    task = find_task(recipe.task.method)
    task.check_weights(recipe.task.weights)
    if recipe.data.hard_negatives and "hard_negatives" not in task.Options.model_fields:
        raise UserError("`data.hard_negatives`: they enter InfoNCE over whole captions; set it to 0 for this task")
    task.check_options(task_options(recipe))
    if recipe.teachers or not task.OWN_TEACHER:  # such a task makes its teacher of what it starts from
        task.check_teachers(len(recipe.teachers))
    apart = {"store", "meta", "locked"}
    start = recipe.student.model_dump(exclude=apart)
    if task.OWN_TEACHER and any(spec.model_dump(exclude=apart) != start for spec in recipe.teachers):
        what = f"{recipe.task.method} learns from the model that it starts from"
        raise UserError(f"`teachers.0`: {what}; name it as `student` does")
    local, rest = divmod(recipe.train.batch_size, world_size)
    if rest:
        raise UserError(f"`train.batch_size` ({recipe.train.batch_size}) must divide by the {world_size} processes")
    if recipe.train.micro_batch and recipe.train.micro_batch < local and local % recipe.train.micro_batch:
        raise UserError(f"`train.micro_batch` ({recipe.train.micro_batch}) must divide the {local} pairs of a process")
    made = [(index, spec.meta) for index, spec in enumerate(recipe.teachers) if spec.meta is not None]
    if len(made) > 1:
        raise UserError("`teachers`: two of them are meta-teachers, and a run makes one; give each a run of its own")
    for index, meta in made:
        _check_meta(recipe, index, meta, world_size)


def task_options(recipe: Recipe) -> dict[str, Any]:
    """The options of the recipe's method, with those that a recipe says elsewhere."""
    negatives = recipe.data.hard_negatives
    return recipe.task.options() | ({"hard_negatives": negatives} if negatives else {})


def _check_meta(recipe: Recipe, index: int, meta: MetaSpec, world_size: int) -> None:
    where = f"`teachers.{index}.meta"
    if recipe.regions is None:
        raise UserError("`regions` is missing: a meta-teacher sees regions; add {provider: ..., store: FOLDER}")
    if recipe.student.model is None:
        raise UserError("`student.model` is missing: the meta-teacher stands on a pretrained model; name one")
    try:
        task = find_task(meta.task.method)
    except UserError as error:
        raise UserError(f"{where}`: {error}") from error
    if not task.OWN_TEACHER or task.TEACHERS[0] != 1:
        raise UserError(f"{where}.task.method`: {meta.task.method!r} trains no meta-teacher; use dclip_teacher")
    try:
        check_training(teacher_recipe(recipe, meta), world_size)
    except UserError as error:
        raise UserError(f"{where}`: {error}") from error
    if meta.epoch is not None and meta.run is None and meta.epoch > meta.train.epochs:
        raise UserError(f"{where}.epoch` is {meta.epoch}, and it trains for {meta.train.epochs}; lower it")
    if meta.run is not None:
        trained_epoch(meta.run, meta.epoch)
