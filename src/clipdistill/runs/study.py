"""`clipdistill study`: several recipes, several seeds, one report; whatever is done already is kept."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.recipe_files import load_recipe, recipe_names
from clipdistill.report import build_report
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.training import train


def study(names: Sequence[str], out: str | Path, *, seeds: int = 3, overrides: Sequence[str] = ()) -> list[Path]:
    """Run recipes under several seeds and set them side by side.

    Args:
        names: recipes by name or path; `petri/dclip/*` stands for every recipe whose name fits.
        out: folder of the study: a run lies in `out/NAME/seed-K`, the report in `out` itself. A study that was
            stopped goes on where it was; runs that are done stay.
        seeds: each recipe runs with seeds 0, 1, ... below this.
        overrides: `key=value` for every run.

    Returns:
        The folders of the runs.

    Raises:
        UserError: an unknown recipe or key (before the first run), another process at work in `out`, or whatever a
            run can't mend.
    """
    chosen = expand(names)
    recipes = {name: [load_recipe(name, [*overrides, f"seed={seed}"]) for seed in range(seeds)] for name in chosen}
    for each in recipes.values():
        check_recipe(each[0])
    folders = []
    with RunFolder(out).held(Ranks.current().is_main):
        for seed in range(seeds):  # seed by seed: a study that is cut short has whole rows
            for name in chosen:
                recipe = recipes[name][seed]
                run = RunFolder(Path(out) / recipe.name / f"seed-{seed}")
                if run.evaluation.is_file():
                    run.check(True, recipe)  # a finished run of other settings doesn't count
                else:
                    print(f"study: {recipe.name}, seed {seed}")
                    train(recipe, run.path, resume=run.recipe.is_file())
                folders.append(run.path)
        build_report(folders, Path(out))
    return folders


def expand(names: Sequence[str]) -> list[str]:
    """Replace patterns by the recipes they stand for, each once, in order.

    Raises:
        UserError: a pattern that no recipe fits.
    """
    found: list[str] = []
    for name in names:
        fitting = [one for one in recipe_names() if fnmatchcase(one, name)] if "*" in name else [name]
        if not fitting:
            raise UserError(f"no recipe fits {name!r}; `clipdistill recipes` lists them")
        found += [one for one in fitting if one not in found]
    return found
