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
from clipdistill.runs.jobs import Engine, Job, require_success, run_jobs
from clipdistill.studies.table import Cell


def study(
    names: Sequence[str],
    out: str | Path,
    *,
    seeds: int = 3,
    overrides: Sequence[str] = (),
    engine: Engine | None = None,
) -> list[Path]:
    """Run recipes under several seeds and set them side by side.

    Args:
        names: recipes by name or path; `petri/dclip/*` stands for every recipe whose name fits.
        out: folder of the study: a run lies in `out/NAME/seed-K`, the report in `out` itself. A study that was
            stopped goes on where it was; runs that are done stay.
        seeds: each recipe runs with seeds 0, 1, ... below this.
        overrides: `key=value` for every run; runs with other ones lie beside.
        engine: who makes the runs (`runs.engines.make_engine`); None = this process, in order.

    Returns:
        The folders of the runs, but for those that wait in a queue.

    Raises:
        UserError: an unknown recipe or key (before the first run), another process at work in `out`, or, after all
            runs, that one of them failed.
    """
    chosen = expand(names)
    jobs = []
    for seed in range(seeds):  # seed by seed: a study that is cut short has whole rows
        for name in chosen:
            recipe = load_recipe(name, [*overrides, f"seed={seed}"])
            if seed == 0:
                check_recipe(recipe)
            place = Path(out) / recipe.name / Cell(name, tuple(sorted(overrides))).variant()
            jobs.append(Job(f"{recipe.name}, seed {seed}", recipe, place / f"seed-{seed}"))
    ranks = Ranks.current()
    with RunFolder(out).held(ranks.is_main):
        outcome = run_jobs(jobs, Path(out), engine)
        made = [job.folder for job in jobs if job.folder not in outcome.failed and job.folder not in outcome.left]
        if ranks.is_main and made:
            build_report(made, Path(out))
    require_success(jobs, outcome.failed)
    return made


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
