"""The results as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from clipdistill.report import content
from clipdistill.report.content import Table
from clipdistill.report.metric_table import metric_table
from clipdistill.report.records import read_run
from clipdistill.report.tables import build_groups
from clipdistill.report.words import headline

STYLES = {"teacher": "magenta", "control": "yellow", "base": "yellow", "student": "bold cyan"}

SHORT = {"items": "n", "harmonic mean of seen and unseen": "harmonic mean"}


def print_table(runs: str | Path | Sequence[str | Path], console: Console | None = None) -> None:
    """Print what was measured in one or several RUN folders, side by side, and what it means.

    Raises:
        UserError: a folder that is no run, or no folder at all.
    """
    console = console or Console()
    paths = [runs] if isinstance(runs, str | Path) else list(runs)
    groups = build_groups([read_run(path) for path in paths])
    if len(groups) > 1:
        console.print(_rich(content.overview_table(groups), "Runs compared (per cent; gain in points)"))
    for group in groups:
        if group.rows:
            console.print(_rich(metric_table(group, wide=False), f"{group.title} (per cent, {group.seeds})"))
            console.print(_rich(content.cost_table(group), "What each model costs"))
        for sentence in headline(group):
            console.print(Text(sentence))


def print_tables(tables: Sequence[tuple[str, Table, Sequence[str]]], console: Console | None = None) -> None:
    """Print (title, table, notes); cells wrap where the terminal is too narrow."""
    console = console or Console()
    for title, found, said in tables:
        console.print(_rich(found, title, wrap=True))
        for sentence in said:
            console.print(Text(sentence))


def _rich(found: Table, title: str, wrap: bool = False) -> RichTable:
    # As narrow as can be: in 80 columns only the data set's name may wrap.
    table = RichTable(title=Text(title, style="bold"), title_justify="left", box=None, padding=(0, 1, 0, 0))
    for place, name in enumerate(found.header):
        table.add_column(
            Text(SHORT.get(name, name.replace("gain over ", "gain over\n").replace("kept of ", "kept of\n"))),
            justify="right" if place >= found.numbers else "left",
            style=STYLES.get(name, ""),
            no_wrap=place > 0 and not wrap,
            overflow="fold" if wrap else "ellipsis",
        )
    above: Sequence[str] = ()
    for cells in found.rows:
        # What a row is of is said where it changes: a cell is left empty while it and all before it are as above.
        same = [i < found.numbers - 1 and list(cells[: i + 1]) == list(above[: i + 1]) for i in range(len(cells))]
        table.add_row(*(_cell(cell, found.header[i], same[i]) for i, cell in enumerate(cells)))
        above = cells
    return table


def _cell(value: str, name: str, repeated: bool) -> Text:
    gain = name.startswith("gain over")
    style = "green" if gain and value.startswith("+") else "red" if gain and value[:1] == "\N{MINUS SIGN}" else ""
    return Text("" if repeated else SHORT.get(value, value), style=style)
