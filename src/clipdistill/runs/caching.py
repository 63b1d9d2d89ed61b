"""`clipdistill cache`: write the stores that a recipe names, of its teachers and of its regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.recipe import Recipe
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.derived import trainings
from clipdistill.runs.parts import Parts, open_parts
from clipdistill.runs.regions import region_model, sees_regions
from clipdistill.runs.stages import Cache, FindRegions, Stage
from clipdistill.tasks import find_task


def cache(recipe: Recipe, batch_size: int = 128) -> list[Path]:
    """Write the stores of the recipe's teachers and regions that aren't there yet; a killed one goes on where it was.

    A meta-teacher's targets aren't among them: `train` makes the teacher first.

    Args:
        batch_size: pictures that the teacher encodes at once.

    Returns:
        The folders of all stores of the recipe.

    Raises:
        UserError: the recipe names no store; missing data or weights; a store of something else there.
    """
    parts = trainings(recipe)
    if not any(teacher.store for each in parts for teacher in each.teachers) and recipe.regions is None:
        raise UserError("`teachers`: none names a `store` to write; add teachers.0.store=FOLDER")
    ranks = Ranks.current()
    check_recipe(recipe, ranks.world_size)
    written: list[Path] = []
    for each in parts:
        opened = open_parts(each, ranks)
        for stage, path in _stores(opened, batch_size):
            if not stage.done():
                stage.run()
            written += [path] if path not in written else []
    return written


def _stores(parts: Parts, batch_size: int) -> list[tuple[Stage, Path]]:
    stages: list[tuple[Stage, Path]] = []
    for state in parts.teachers:
        if state.spec.store is not None:
            stage = Cache(parts, state, batch_size)
            stages.append((stage, stage.path))
    recipe = parts.recipe
    if recipe.regions is not None and sees_regions(recipe, parts.model):

        def base() -> Any:
            found = KINDS[find_task(recipe.task.method).KIND].open(recipe.student, parts.ranks.device)
            return found.requires_grad_(False).eval()

        model = region_model(recipe, base, parts.ranks.device)
        stages.append((FindRegions(parts, model, None, batch_size), recipe.regions.store))
    return stages
