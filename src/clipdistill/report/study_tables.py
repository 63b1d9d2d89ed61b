"""Filled tables of a study: what was measured, over the seeds, with the number that the paper prints beside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.files import write_json, write_text
from clipdistill.report.content import NO_MODEL, Table
from clipdistill.report.html_page import page, section
from clipdistill.report.html_page import table as html_table
from clipdistill.report.markdown import escape
from clipdistill.report.markdown import table as markdown_table
from clipdistill.report.paper import PaperRow, paper_rows
from clipdistill.report.run_links import run_links
from clipdistill.report.tables import Summary
from clipdistill.report.words import MINUS, percent, points
from clipdistill.studies.table import Place, StudyTable

PRINTED = " / printed in the paper"
FAILED = "failed"


@dataclass
class Filled:
    """A table with its numbers.

    Attributes:
        values: place -> seed -> fraction; a row that isn't trained has the one seed 0.
        failed: (row, regime) -> why there is no number of some seed.
        printed: place -> fraction. source: where these stand.
    """

    name: str
    table: StudyTable
    values: dict[Place, dict[int, float]] = field(default_factory=dict)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)
    printed: dict[Place, float] = field(default_factory=dict)
    source: str = ""


def empty(name: str, table: StudyTable) -> Filled:
    """A table with its printed numbers alone.

    Raises:
        UserError: it names a paper, a row or a column that isn't there.
    """
    found = Filled(name, table)
    if table.paper is None:
        return found
    found.source = paper_rows(table.paper)[2]
    for key, row in table.rows.items():
        if row.paper is None:
            continue
        other, _, one = row.paper.rpartition("/")
        where = f"{table.paper.partition('/')[0]}/{other}" if other else table.paper
        printed, columns, _ = paper_rows(where)
        if one not in printed:
            raise UserError(f"{name}: `rows.{key}.paper`: {where} has no row '{one}'; see `report/paper_numbers`")
        _print(found, key, printed[one], columns)
    return found


def _print(found: Filled, key: str, row: PaperRow, columns: Sequence[tuple[str, str]]) -> None:
    for measure, regime in found.table.columns():
        column = found.table.printed_as(measure, regime)
        if column is None:
            continue
        if column[0].partition("@")[0] not in {data.partition("@")[0] for data, _ in columns}:
            raise UserError(
                f"{found.name}: `measures.{measure}.paper`: {found.table.paper} has no data set '{column[0]}'"
            )
        if column in row.values:
            found.printed[key, measure, regime] = row.values[column]


def value_table(found: Filled) -> Table:
    """Rows by columns: `46.7 ± 0.3 / 45.18`."""
    table = found.table
    rows = [[*_names(found, key), *(_cell(found, (key, *column)) for column in table.columns())] for key in table.rows]
    return Table(_header(found), rows, numbers=2 if _grouped(found) else 1)


def difference_table(found: Filled) -> Table | None:
    """Each row less the one that it is `against`; None when no row is against another."""
    table, rows = found.table, []
    for key, row in table.rows.items():
        if row.against is None:
            continue
        cells = []
        for measure, regime in table.columns():
            own, other = (found.values.get((one, measure, regime), {}) for one in (key, row.against))
            both = [own[seed] - other[seed] for seed in sorted(own) if seed in other]
            prints = [found.printed.get((one, measure, regime)) for one in (key, row.against)]
            printed = _signed(100 * (prints[0] - prints[1])) if None not in prints else NO_MODEL  # type: ignore[operator]
            cells.append(_beside(found, points(Summary(tuple(both))) if both else NO_MODEL, printed))
        *group, label = _names(found, key)
        rows.append([*group, f"{label} {MINUS} {table.rows[row.against].label}", *cells])
    return Table(_header(found), rows, numbers=2 if _grouped(found) else 1) if rows else None


def notes(found: Filled, seeds: int) -> list[str]:
    """What there is to say below a table."""
    count = "1 seed" if seeds == 1 else f"{seeds} seeds"
    said = [f"Per cent: mean ± standard deviation over the seeds{_printed_too(found)}. {count}."]
    if found.source:
        said.append(
            f"{found.source} The data of the measured numbers is that of the recipes, the printed ones' the paper's."
        )
    said += [
        f"{found.table.rows[row].label}, {found.table.regimes[regime].label}: {why}"
        for (row, regime), why in found.failed.items()
    ]
    for measure, spec in found.table.measures.items():
        if not any(place[1] == measure for place in found.values):
            said.append(f"No run has a number {spec.metric} of {spec.data} by the suite {spec.suite} yet.")
    return said


def write_report(filled: Sequence[Filled], folder: Path, seeds: Sequence[int], runs: Mapping[Path, str]) -> None:
    """Write report.md, report.html and tables.json.

    seeds: how many of each table. runs: folder -> what it is called.
    """
    title = filled[0].table.title if len(filled) == 1 else f"{len(filled)} tables"
    text, body = [f"# {escape(title)}"], []
    for found, count in zip(filled, seeds, strict=True):
        shown = [(found.table.title, value_table(found), notes(found, count))]
        if (less := difference_table(found)) is not None:
            shown.append((f"{found.table.title}: differences", less, [difference_note(found)]))
        for heading, content, said in shown:
            text += [f"## {escape(heading)}", markdown_table(content), *map(escape, said)]
            body.append(
                section(heading, html_table(content), *(f"<p class=note>{html.escape(one)}</p>" for one in said))
            )
    if links := run_links(folder, runs):
        text += links[0]
        body.append(links[1])
    write_text(folder / "report.md", "\n\n".join(text) + "\n")
    write_text(folder / "report.html", page(title, body))
    write_json(folder / "tables.json", {found.name: _plain(found) for found in filled})


def _plain(found: Filled) -> list[dict[str, Any]]:
    places = dict.fromkeys([*found.values, *found.printed])
    return [
        {
            "row": row, "measure": measure, "regime": regime,
            "seeds": {str(seed): value for seed, value in sorted(found.values.get((row, measure, regime), {}).items())},
            "printed": found.printed.get((row, measure, regime)),
        }
        for row, measure, regime in places
    ]  # fmt: skip


def _grouped(found: Filled) -> bool:
    return any(row.group for row in found.table.rows.values())


def _names(found: Filled, key: str) -> list[str]:
    row = found.table.rows[key]
    return [row.group, row.label] if _grouped(found) else [row.label]


def _header(found: Filled) -> list[str]:
    table = found.table
    several = len(table.regimes) > 1
    columns = [
        f"{table.measures[measure].label}, {table.regimes[regime].label}" if several else table.measures[measure].label
        for measure, regime in table.columns()
    ]
    return [*(["student", "row"] if _grouped(found) else ["row"]), *columns]


def _cell(found: Filled, place: Place) -> str:
    seeds = found.values.get(place)
    here = percent(Summary(tuple(seeds[seed] for seed in sorted(seeds)))) if seeds else NO_MODEL
    if (place[0], place[2]) in found.failed:
        here = f"{here} ({FAILED})" if seeds else FAILED
    printed = found.printed.get(place)
    return _beside(found, here, NO_MODEL if printed is None else f"{100 * printed:.2f}")


def difference_note(found: Filled) -> str:
    """What stands below `difference_table`."""
    return f"Differences in points, paired by seed: mean ± standard deviation{_printed_too(found)}."


def _printed_too(found: Filled) -> str:
    return "" if found.table.paper is None else PRINTED


def _beside(found: Filled, here: str, printed: str) -> str:
    if found.table.paper is None or here == printed == NO_MODEL:
        return here
    return f"{here} / {printed}"


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else MINUS}{abs(value):.2f}"
