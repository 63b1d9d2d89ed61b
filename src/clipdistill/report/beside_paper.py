"""Numbers that the recipe's paper printed, beside what was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipdistill.errors import UserError
from clipdistill.report.content import NO_MODEL, Table
from clipdistill.report.paper import PaperRow, PaperTable, paper_table
from clipdistill.report.tables import Group, metric_label
from clipdistill.report.words import percent

PAPER_HEADER = ["data set", "metric", "role", "model", "method", "printed", "measured here"]


def paper_numbers(group: Group) -> tuple[PaperTable, Table] | str | None:
    """The table of the paper that the recipe names, beside what was measured; a sentence when it can't be found."""
    key = group.runs[0].recipe.get("paper")
    if not key:
        return None
    try:
        paper = paper_table(str(key))
    except UserError as error:
        return str(error)
    behind = _drawn(group.runs[0].recipe)
    measured = {(row.data.casefold() + behind, row.metric): row.values for row in group.rows}
    rows = []
    for data, metric in paper.columns:
        for row in paper.rows:
            if (data, metric) in row.values:
                printed = f"{100 * row.values[data, metric]:.2f}".rstrip("0").rstrip(".")
                role = _role_of(row, paper, group)
                here = percent(measured.get((data.casefold(), metric), {}).get(role)) if role else ""
                label = metric_label(metric)
                rows.append([data, label, row.role, row.model, row.method or NO_MODEL, printed, here or NO_MODEL])
    return paper, Table(PAPER_HEADER, rows, numbers=5)


def _drawn(recipe: Mapping[str, Any]) -> str:
    """What stands behind the name of a data set in the paper's table, of a run that trained on a low-shot draw."""
    sources = (recipe.get("data") or {}).get("train") or []
    return next((f"@{one['low_shot']}" for one in sources if isinstance(one, dict) and one.get("low_shot")), "")


def _role_of(row: PaperRow, paper: PaperTable, group: Group) -> str | None:
    """The model of the run that a row of its paper's table is: its student for one row, the others by their role."""
    if row.key == paper.own:
        return "student"
    if row.role == "teacher":
        return group.teacher
    return row.role if row.role in ("base", "control") else None


def paper_note(paper: PaperTable) -> str:
    """Say where printed numbers come from, and what the paper prints besides of time and size."""
    besides = f" Also printed: {'; '.join(map(str, paper.facts))}." if paper.facts else ""
    return f"{paper.title}, {paper.printed}. Trained on {paper.trained_on}. Per cent. Source: {paper.source}.{besides}"


def paper_caution(rows: Table) -> str:
    """Say that printed numbers can't be compared when none of the paper's data sets was measured here."""
    if any(row[-1] != NO_MODEL for row in rows.rows):
        return ""
    return "None of the paper's data sets was measured here: these numbers can't be compared with those above."
