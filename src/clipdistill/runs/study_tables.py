"""`clipdistill study TABLE`: the runs of one or several tables, those done already kept; then the tables, filled.

A mistake that can be known is said before the first run. A run that fails on the way is named in its cells, the others
go on, and the command fails at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import load_recipe
from clipdistill.report.study_tables import (
    Filled,
    difference_note,
    difference_table,
    empty,
    notes,
    value_table,
    write_report,
)
from clipdistill.report.terminal import print_tables
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.evaluation import check_suites
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.jobs import Engine, Job, Outcome, results_of, run_jobs
from clipdistill.studies.table import Cell, StudyTable, cells, chosen, load_table, require_fitting, table_names

MODELS = "models"
"""In a study: what was measured of models that aren't trained."""


@dataclass(frozen=True)
class Study:
    """Filled tables with how many seeds each has; the runs of all of them, and what became of them."""

    filled: list[tuple[Filled, int]]
    jobs: list[Job]
    outcome: Outcome = field(default_factory=Outcome)


def study_tables(
    names: Sequence[str],
    out: str | Path,
    *,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    rows: Sequence[str] = (),
    regimes: Sequence[str] = (),
    plan: bool = False,
    engine: Engine | None = None,
) -> Study:
    """Run what tables need and isn't done, and fill them.

    Args:
        names: tables by name or path; `clip_td/*` stands for every table whose name fits.
        out: folder of the study. A run lies in `out/RECIPE/OVERRIDES/seed-K`, the tables in `out` itself, as report.md,
            report.html and tables.json.
        seeds: how many; None = what each table says. overrides: `key=value` for every run.
        rows, regimes: names or patterns; none = all.
        plan: list the runs and stop.
        engine: who makes the runs; None = this process, in order.

    Raises:
        UserError: an unknown table, row, regime, recipe or key, or printed numbers that aren't there, before the first
            run.
    """
    tables = {name: load_table(name) for name in _expand(names)}
    require_fitting("rows", rows, [key for table in tables.values() for key in table.rows])
    require_fitting("regimes", regimes, [key for table in tables.values() for key in table.regimes])
    tables = {name: chosen(table, rows, regimes) for name, table in tables.items()}
    tables = {name: table for name, table in tables.items() if table.rows and table.regimes and table.measures}
    filled = {name: empty(name, table) for name, table in tables.items()}
    counts = {name: seeds or table.seeds for name, table in tables.items()}
    places = {name: list(_jobs(table, counts[name], overrides, Path(out))) for name, table in tables.items()}
    jobs = {
        job.folder: job for _, _, job in sorted((p for each in places.values() for p in each), key=lambda p: p[2].seed)
    }
    study = Study([(found, counts[name]) for name, found in filled.items()], list(jobs.values()))
    if plan:
        return study
    ranks = Ranks.current()
    with RunFolder(out).held(ranks.is_main):
        study = replace(study, outcome=run_jobs(study.jobs, Path(out), engine))
        for name, found in filled.items():
            fill(found, places[name], study.outcome)
        if ranks.is_main:
            write_report(
                list(filled.values()),
                Path(out),
                list(counts.values()),
                {folder: job.title for folder, job in jobs.items()},
            )
    return study


def show_tables(study: Study, console: Any = None) -> None:
    """Print its tables in the terminal."""
    for found, count in study.filled:
        shown = [(found.table.title, value_table(found), notes(found, count))]
        if (less := difference_table(found)) is not None:
            shown.append(("differences", less, [difference_note(found)]))
        print_tables(shown, console)


def fill(found: Filled, places: Sequence[tuple[str, str, Job]], outcome: Outcome) -> None:
    """Read the numbers of a table's runs."""
    for row, regime, job in places:
        if job.folder in outcome.failed:
            found.failed[row, regime] = outcome.failed[job.folder]
        if job.folder in outcome.failed or job.folder in outcome.left:
            continue
        measured = results_of(job).get("student" if job.model is None else "model", ())
        results = {(one.evaluator, one.data): one.metrics for one in measured}
        for measure, spec in found.table.measures.items():
            value = results.get((spec.suite, spec.data), {}).get(spec.metric)
            if value is not None and (spec.regimes is None or regime in spec.regimes):
                found.values.setdefault((row, measure, regime), {})[job.seed] = value


def _jobs(table: StudyTable, seeds: int, overrides: Sequence[str], out: Path) -> Iterator[tuple[str, str, Job]]:
    checked: set[Cell] = set()
    for row, regime, cell in cells(table, overrides):
        for seed in range(1 if cell.model else seeds):
            try:
                recipe = load_recipe(cell.recipe, [*cell.overrides, f"seed={seed}"])
                if cell not in checked:
                    check_recipe(recipe) if cell.model is None else None
                    check_suites(recipe)
                    checked.add(cell)
            except UserError as error:
                raise UserError(f"{table.title}: `rows.{row}`, regime {regime}: {error}") from error
            base = out / MODELS if cell.model else out
            folder = base / recipe.name / cell.variant() / f"seed-{seed}"
            yield row, regime, Job(_title(row, regime, cell, recipe), recipe, folder, cell.model, table.resources)


def _title(row: str, regime: str, cell: Cell, recipe: Recipe) -> str:
    if cell.model:
        return f"{row}, {regime}: {cell.model} as it is, on what {recipe.name} evaluates"
    return f"{row}, {regime}: {recipe.name}, seed {recipe.seed}"


def _expand(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        fitting = [one for one in table_names() if fnmatchcase(one, name)] if "*" in name else [name]
        found += [one for one in fitting if one not in found]
    return found
