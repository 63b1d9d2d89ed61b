"""The command `study`: recipes, or a table of a paper, under several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipdistill.errors import Interrupted, UserError, nearest


def study(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE...|TABLE...", help="recipes: names, files, or patterns: 'petri/dclip/*'; tables"
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the study; a stopped one goes on")],
    seeds: Annotated[
        int | None, typer.Option(min=1, help="seeds 0, 1, ...; default: 3, or what the table says")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="for every run")] = None,
    rows: Annotated[list[str] | None, typer.Option("--rows", help="of a table: names or patterns of rows")] = None,
    regimes: Annotated[list[str] | None, typer.Option("--regimes", help="of a table: names or patterns")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="of a table: list its runs and stop")] = False,
) -> None:
    """Run several recipes under several seeds and set them side by side; or fill tables, printed numbers beside."""
    from clipdistill.recipe_files import is_recipe, recipe_names
    from clipdistill.running import show_runs, terminal
    from clipdistill.runs.study import study as run_study
    from clipdistill.runs.study_tables import show_plan, show_tables, study_tables
    from clipdistill.study_table import is_table, table_names

    tables = [name for name in names if is_table(name)]
    if tables and len(tables) < len(names):
        other = next(name for name in names if name not in tables)
        raise UserError(f"study: {tables[0]} is a table and {other} isn't; give one kind at a time")
    if not tables and (strange := [name for name in names if "*" not in name and not is_recipe(name)]):
        raise UserError(
            f"study: no recipe or table {strange[0]!r}.{nearest(strange[0], [*recipe_names(), *table_names()])}"
        )
    if not tables and (rows or regimes or plan):
        raise UserError("study: --rows, --regimes and --plan are of tables; `clipdistill tables` lists them")
    try:
        if not tables:
            show_runs(run_study(names, out, seeds=seeds or 3, overrides=override or ()))
        else:
            done = study_tables(
                tables, out, seeds=seeds, overrides=override or (), rows=rows or (), regimes=regimes or (), plan=plan
            )
            show_plan(done) if plan else show_tables(done, terminal())
    except Interrupted as stop:
        raise Interrupted(f"{stop}; go on with the same command") from stop
    if not plan:
        print(f"report: {out / 'report.html'}")
    if tables:
        done.require_success()


def tables() -> None:
    """List the tables that `study` can fill."""
    from clipdistill.study_table import load_table, table_names

    for name in table_names():
        print(f"{name:40} {load_table(name).about}")


def add(app: typer.Typer) -> None:
    """Put the commands on the app."""
    app.command()(study)
    app.command()(tables)
