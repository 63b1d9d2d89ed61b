"""`clipdistill cache`: write the stores that a recipe names, of its teachers and of its regions."""

from __future__ import annotations

from pathlib import Path

from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError
from clipdistill.recipe import Recipe
from clipdistill.runs.meta_teacher import check_meta, open_base, write_regions
from clipdistill.runs.teachers import TeacherState, tower_fingerprint
from clipdistill.runs.wiring import Parts, open_parts
from clipdistill.stores import TeacherStore, cache_teacher


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
    if not any(teacher.store for teacher in recipe.teachers) and recipe.regions is None:
        raise UserError("`teachers`: none names a `store` to write; add teachers.0.store=FOLDER")
    check_meta(recipe)
    parts = open_parts(recipe)
    write_stores(parts, batch_size)
    written = [Path(teacher.store) for teacher in recipe.teachers if teacher.store]
    if recipe.regions is not None:
        write_regions(parts, open_base(recipe, parts.ranks.device), batch_size)
        written.append(recipe.regions.store)
    return written


def write_stores(parts: Parts, batch_size: int = 128) -> None:
    """Write the stores that are missing, each rank its share, and open them in `parts`."""
    for state in parts.teachers:
        if state.to_cache:
            _write(parts, state, batch_size)


def _write(parts: Parts, state: TeacherState, batch_size: int) -> None:
    ranks, lit = parts.ranks, parts.recipe.task.method == "lit"
    path = Path(str(state.spec.store))
    total = len(parts.mixture)
    with Meter(f"caching {state.spec.label}", total, quiet=not ranks.is_main) as meter:
        cache_teacher(
            state.model.to(ranks.device),  # type: ignore[union-attr]
            parts.mixture,
            parts.plan,
            path,
            batch_size=batch_size,
            workers=parts.recipe.data.workers,
            device=ranks.device,
            rank=ranks.rank,
            world_size=ranks.world_size,
            features="tower" if lit else "embedding",
            fingerprint=tower_fingerprint(state.model) if lit else None,
            max_bad_share=parts.recipe.data.max_bad_share,
            progress=meter.reach,
        )
    ranks.barrier()
    state.store = TeacherStore.open(path)
