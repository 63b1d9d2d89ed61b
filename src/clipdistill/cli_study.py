"""The command `study`: recipes, a table of a paper or a grid, under several seeds, made here or by an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clipdistill.errors import Interrupted, UserError, nearest


def study(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE...|TABLE...|GRID",
            help="recipes: names, files, or patterns: 'petri/dclip/*'; tables; a grid: its name or file",
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the study; a stopped one goes on")],
    seeds: Annotated[
        int | None, typer.Option(min=1, help="seeds 0, 1, ...; default: 3, or what the table or the grid says")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="for every run")] = None,
    rows: Annotated[list[str] | None, typer.Option("--rows", help="of a table: names or patterns of rows")] = None,
    regimes: Annotated[list[str] | None, typer.Option("--regimes", help="of a table: names or patterns")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="AXIS=LEVEL", help="of a grid: the cells with that level")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="of tables and grids: list the runs, of a grid what they cost, and stop")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="ray or slurm: who makes the runs; default: this process, one after the other")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="of ray, started here: how many runs at once; default: what fits")
    ] = None,
    address: Annotated[str | None, typer.Option(help="of ray, there already: HOST:PORT, or auto")] = None,
    resources: Annotated[
        list[str] | None,
        typer.Option("--resources", metavar="KEY=VALUE", help="what each run asks: cpus, gpus, memory (GB)"),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option("--slurm", metavar="KEY=VALUE", help="as submitit names it: timeout_min, partition, account, ..."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="of slurm: stay until all runs have ended")] = False,
) -> None:
    """Run several recipes under several seeds and set them side by side; fill tables of a paper; or run a grid."""
    from clipdistill.running import read_options, show_runs, terminal
    from clipdistill.runs.jobs import require_success, show_jobs
    from clipdistill.runs.study import study as run_study

    kind = _kind(names)
    for option, value, wanted in (("--rows", rows, "table"), ("--regimes", regimes, "table"), ("--only", only, "grid")):
        if value and kind != wanted:
            raise UserError(f"study: {option} is of {wanted}s, and {names[0]} is a {kind}; leave it away")
    if plan and kind == "recipe":
        raise UserError("study: --plan is of tables and grids; `clipdistill train RECIPE --plan` shows a run's")
    said = override or ()
    how = {"workers": workers, "address": address, "resources": read_options(resources, "--resources"),
           "slurm": read_options(slurm, "--slurm"), "wait": wait}  # fmt: skip
    made_by = _engine(engine, how)
    try:
        if kind == "recipe":
            if runs := run_study(names, out, seeds=seeds or 3, overrides=said, engine=made_by):
                show_runs(runs)
                print(f"report: {out / 'report.html'}")
            return
        if kind == "table":
            from clipdistill.runs.study_tables import show_tables, study_tables

            filled = study_tables(
                names, out, seeds=seeds, overrides=said, rows=rows or (), regimes=regimes or (), plan=plan,
                engine=made_by,
            )  # fmt: skip
            show_jobs(filled.jobs) if plan else show_tables(filled, terminal())
            jobs, failed = filled.jobs, filled.outcome.failed
        else:
            from clipdistill.report.study_grids import grid_tables
            from clipdistill.report.terminal import print_tables
            from clipdistill.runs.study_grids import cost_of, study_grid

            grid = study_grid(names[0], out, seeds=seeds, overrides=said, only=only or (), plan=plan, engine=made_by)
            if plan:
                show_jobs(grid.jobs)
                print(cost_of(grid))
            else:
                print_tables(grid_tables(grid.results()), terminal())
            jobs, failed = grid.jobs, grid.outcome.failed
    except Interrupted as stop:
        raise Interrupted(f"{stop}; go on with the same command") from stop
    if not plan:
        print(f"report: {out / 'report.html'}")
    require_success(jobs, failed)


def _engine(name: str | None, how: dict[str, Any]) -> Any:
    """The engine of that name; UserError for what belongs to one, and none is named."""
    from clipdistill.runs.engines import make_engine

    if name is not None:
        return make_engine(name, **how)
    for option, value in how.items():
        if value:
            raise UserError(f"study: --{option} is of an engine; name it with --engine")
    return None


def _kind(names: list[str]) -> str:
    """ "recipe", "table" or "grid"; UserError for names of several kinds, or of none."""
    from clipdistill.recipe_files import is_recipe, recipe_names
    from clipdistill.studies.grid import grid_names, is_grid
    from clipdistill.studies.table import is_table, table_names

    kinds = {name: "grid" if is_grid(name) else "table" if is_table(name) else "recipe" for name in names}
    for name, kind in kinds.items():
        if kind != kinds[names[0]]:
            raise UserError(f"study: {names[0]} is a {kinds[names[0]]} and {name} isn't; give one kind at a time")
        if kind == "recipe" and "*" not in name and not is_recipe(name):
            known = [*recipe_names(), *table_names(), *grid_names()]
            raise UserError(f"study: no recipe, table or grid {name!r}.{nearest(name, known)}")
    if kinds[names[0]] == "grid" and len(names) > 1:
        raise UserError("study: give one grid at a time; each has a folder of its own")
    return kinds[names[0]]


def tables() -> None:
    """List the tables that `study` can fill, and the grids that it can run."""
    from clipdistill.studies.grid import grid_names, load_grid
    from clipdistill.studies.table import load_table, table_names

    for name in table_names():
        print(f"{name:40} {load_table(name).about}")
    for name in grid_names():
        print(f"{name:40} {load_grid(name).about}")


def add(app: typer.Typer) -> None:
    """Put the commands on the app."""
    app.command()(study)
    app.command()(tables)
