"""Before long work starts: a petri world for a plan, and samples that their sources left out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipdistill.data import Mixture
from clipdistill.data.sources.base import NOT_A_PICTURE
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError
from clipdistill.recipe import Recipe
from clipdistill.runs.wiring import ensure_petri_world


@contextmanager
def world_for_plan(recipe: Recipe) -> Iterator[Recipe]:
    """Yield the recipe, with its petri world in a temporary folder when it isn't written yet: a plan leaves nothing."""
    if recipe.petri is None or recipe.petri.path.exists():
        yield recipe
        return
    with tempfile.TemporaryDirectory() as folder:
        values = recipe.model_dump(mode="json")
        old, new = values["petri"]["path"], str(Path(folder) / Path(values["petri"]["path"]).name)
        values["petri"]["path"] = new
        for key in ("data", "evaluate"):
            values[key] = _moved(values[key], old, new)
        borrowed = Recipe.model_validate(values)
        with Meter("petri world, for the plan", 1) as meter:
            ensure_petri_world(borrowed, meter.reach)
        yield borrowed


def _moved(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return new + value.removeprefix(old) if value == old or value.startswith(f"{old}/") else value
    if isinstance(value, list):
        return [_moved(item, old, new) for item in value]
    if isinstance(value, dict):
        return {key: _moved(item, old, new) for key, item in value.items()}
    return value


def check_left_out(mixture: Mixture, limit: float) -> None:
    """Stop when a source had to leave out too many of its samples when it was opened.

    Raises:
        UserError: more than the share `limit` of a source; names the first few with their reasons.
    """
    for source in mixture.sources:
        lost = [(one, why) for one, why in getattr(source, "skipped", ()) if why != NOT_A_PICTURE]
        if len(lost) > limit * (len(source) + len(lost)):
            some = "; ".join(f"{one}: {why}" for one, why in lost[:5]) + ("; ..." if len(lost) > 5 else "")
            raise UserError(
                f"data source '{source.name}': {len(lost)} of {len(source) + len(lost)} samples can't be used, more "
                f"than data.max_bad_share = {limit:g} ({some}); mend them or raise the share"
            )
