"""The command `doctor`: what this machine has, what is damaged in a store or run, what a look at data says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipdistill.errors import UserError


def add(app: typer.Typer) -> None:
    """Give the command to the app."""
    app.command()(doctor)


def doctor(
    verify: Annotated[
        list[Path] | None, typer.Option(help="a store or run to read wholly, for damage, and nothing else; several")
    ] = None,
    mend: Annotated[
        bool,
        typer.Option("--mend", help="of stores take out what is damaged: the command that wrote one writes it again"),
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE", help="a path, or format:path@split, to look over instead; several: what they share"
        ),
    ] = None,
) -> None:
    """Say what is installed, which accelerators there are, which weights and data are found, how to get the rest."""
    if data:
        if verify or mend:
            raise UserError("--data: looks data over, and --verify reads stores and runs; give one of them")
        from clipdistill.runs.doctor_data import look_over

        look_over(data)
        return
    if verify:
        _verify(verify, mend)
        return
    if mend:
        raise UserError("--mend: say which store with --verify STORE")
    from clipdistill.runs.doctor import doctor as run_doctor

    run_doctor()


def _verify(paths: list[Path], mend: bool) -> None:
    from clipdistill.runs.verify import verify

    broken = 0
    for path in paths:
        for what, damaged in verify(path, mend=mend):
            broken += len(damaged)
            print("\n".join(damaged) if damaged else f"{what}: whole", flush=True)
    if broken:
        again = "; taken out of the stores, which the commands that wrote them go on with" if mend else ""
        raise UserError(f"{broken} damaged{again}")
