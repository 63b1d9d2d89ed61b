"""What `analyse` reads from the command line and prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from clipdistill.analysis import wording
from clipdistill.analysis.analysing import SHOWN
from clipdistill.analysis.importance import ImportanceOptions
from clipdistill.errors import UserError, explain
from clipdistill.report.content import Table as Content
from clipdistill.running import terminal


def importance_options(given: Mapping[str, Any]) -> ImportanceOptions:
    """Options by their names; UserError for a value that there isn't."""
    try:
        return ImportanceOptions.model_validate(given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise UserError(f"--{name}: {explain(error, ImportanceOptions).partition(': ')[2]}") from error


def shown_questions(given: Sequence[str] | None) -> int | list[str]:
    """A single number says how many; anything else names questions."""
    if not given:
        return SHOWN
    return int(given[0]) if len(given) == 1 and given[0].isdigit() else list(given)


def show_analysis(content: Mapping[str, Any], out: Path) -> None:
    """Print the sentences, the tables, and where the page lies."""
    for sentence in wording.headline(content):
        print(sentence)
    console = terminal()
    tables: list[tuple[str, Content]] = []
    if content["comparison"]:
        tables.append(("before and after", wording.quoted_table(content)))
    tables.append(("importance by layer", wording.layer_table(content)))
    if "ablation" in content["models"][0]:
        tables.append(("without a modality, per cent", wording.ablation_table(content)))
    for title, found in tables:
        table = Table(title=title, title_justify="left")
        for place, name in enumerate(found.header):
            table.add_column(name, justify="left" if place < found.numbers else "right")
        for row in found.rows:
            table.add_row(*row)
        console.print(table)
    print(f"report: {out / 'report.html'}")
