"""What `clipdistill score` prints."""

from __future__ import annotations

from rich.table import Table

from clipdistill.evaluate.results import Result


def score_table(found: Result) -> Table:
    """The metrics, with the rule and the data in the title. Counts are whole numbers, rates have four places."""
    table = Table(title=f"{found.evaluator} by rule {found.artifacts['rule']}: {found.data}", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in found.metrics.items():
        table.add_row(name, str(value) if isinstance(value, int) else f"{value:.4f}")
    return table


def missing_line(found: Result) -> str:
    """Which questions lack an answer, in one line; empty where none does."""
    missing, named = found.artifacts["missing"], found.artifacts.get("missing_ids", [])
    if not missing:
        return ""
    names = f": {', '.join(named)}{', ...' if missing > len(named) else ''}" if named else ""
    wrong = " and count as wrong" if found.metrics else ""
    return f"{missing} of {found.n} questions have no answer{wrong}{names}"
