"""`clipdistill quickstart`: the whole system on the petri world, from nothing to a report, in minutes on a laptop."""

from __future__ import annotations

from pathlib import Path

from clipdistill.recipe import Recipe
from clipdistill.recipe_files import load_recipe
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.training import train

RECIPE = "petri/quickstart"


def quickstart(out: str | Path = "quickstart", seed: int = 0) -> RunFolder | None:
    """Write a petri world, distil a student from the shipped teacher, train its control, evaluate, report.

    Args:
        out: folder for the world, the teacher's store and the run; a second call goes on where the first one stopped.

    Raises:
        UserError: `out` can't be written or holds something else.
    """
    out = Path(out)
    values = load_recipe(RECIPE).model_dump()
    values["seed"] = seed
    values["petri"]["path"] = out / "world"
    values["data"]["train"][0]["path"] = str(out / "world" / "dataset_petri.json")
    values["teachers"][0]["store"] = out / "store"
    recipe = Recipe.model_validate(values)
    run = out / f"run-seed{seed}"
    return train(recipe, run, resume=(run / "recipe.yaml").is_file())
