"""Commands that make data files: draws of a source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def low_shot(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="path, or format:path@split")],
    total: Annotated[int, typer.Option(min=1, help="samples in all, as many of each class")],
    out: Annotated[Path, typer.Option(help="JSON file for the ids, which `subset` of a source reads")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="option of the format")] = None,
) -> None:
    """Draw a low-shot training set, as many samples of each class, and write its ids."""
    from clipdistill.running import read_options
    from clipdistill.runs.low_shot import describe
    from clipdistill.runs.low_shot import low_shot as draw

    drawn = draw(source, total, seed, out, read_options(option))
    print(f"{out}: {drawn.data}: {describe(drawn)}")


def register(app: typer.Typer) -> None:
    """Put the commands on the app."""
    app.command()(low_shot)
