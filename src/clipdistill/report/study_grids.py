"""The numbers of a grid: a row a cell, a column a measure, and what each level of an axis comes to."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.evaluate.results import Result
from clipdistill.files import write_json, write_text
from clipdistill.report.content import NO_MODEL, Table
from clipdistill.report.html_page import page, section
from clipdistill.report.html_page import table as html_table
from clipdistill.report.markdown import escape
from clipdistill.report.markdown import table as markdown_table
from clipdistill.report.run_links import run_links
from clipdistill.report.tables import Summary, metric_label
from clipdistill.report.words import percent
from clipdistill.studies.grid import GridCell, StudyGrid
from clipdistill.studies.table import MeasureSpec

CELLS = "Students, per cent: mean ± standard deviation over the seeds that are done."
LEVELS = (
    "Students, per cent: each level's mean over the cells that have it, ± the standard deviation over the seeds. Only "
    "seeds that all of an axis's cells have count, so that levels are compared on the same cells."
)


@dataclass(frozen=True)
class GridResults:
    """What was measured of a grid.

    Attributes:
        found: cell -> seed -> role ("student", "teacher", "control", ...) -> results.
        failed: cell -> why a run of it failed.
    """

    grid: StudyGrid
    found: Mapping[GridCell, Mapping[int, Mapping[str, Sequence[Result]]]]
    failed: Mapping[GridCell, str]

    def measures(self) -> dict[str, MeasureSpec]:
        """Those of the file; else every whole metric of every suite (of a metric by parts, `q2a/TYPE`, the whole)."""
        if self.grid.measures:
            return dict(self.grid.measures)
        seen: dict[str, MeasureSpec] = {}
        for seeds in self.found.values():
            for roles in seeds.values():
                for one in roles.get("student", ()):
                    for metric in one.metrics:
                        if "/" in metric and metric.partition("/")[0] in one.metrics:
                            continue
                        label = f"{one.data}, {metric_label(metric)}"
                        spec = MeasureSpec(label=label, suite=one.evaluator, data=one.data, metric=metric)
                        seen.setdefault(f"{one.evaluator}/{one.data}/{metric}", spec)
        return seen

    def values(self, cell: GridCell, measure: MeasureSpec, role: str = "student") -> dict[int, float]:
        """Seed -> fraction."""
        found = {}
        for seed, roles in sorted(self.found.get(cell, {}).items()):
            for one in roles.get(role, ()):
                if (one.evaluator, one.data) == (measure.suite, measure.data) and measure.metric in one.metrics:
                    found[seed] = one.metrics[measure.metric]
        return found


def cell_table(results: GridResults) -> Table:
    """A row a cell: its levels, then each measure."""
    measures, axes = results.measures(), list(results.grid.axes)
    rows = []
    for cell in results.found:
        shown = [_shown(results.values(cell, spec)) for spec in measures.values()]
        if cell in results.failed:
            shown = [f"{one} (failed)" if one != NO_MODEL else "failed" for one in shown]
        rows.append([*(level for _, level in cell.levels), *shown])
    return Table([*axes, *(spec.label for spec in measures.values())], rows, numbers=len(axes))


def level_table(results: GridResults) -> Table:
    """A row a level of an axis: its mean over cells, seed by seed."""
    measures = results.measures()
    rows = []
    for axis in results.grid.axes:
        levels = dict.fromkeys(dict(cell.levels)[axis] for cell in results.found)
        if len(levels) < 2:
            continue
        for level in levels:
            cells = [cell for cell in results.found if dict(cell.levels)[axis] == level]
            rows.append([axis, level, *(_shown(_over_cells(results, cells, spec)) for spec in measures.values())])
    return Table(["axis", "level", *(spec.label for spec in measures.values())], rows, numbers=2)


def _over_cells(results: GridResults, cells: Sequence[GridCell], spec: MeasureSpec) -> dict[int, float]:
    """Seed -> mean over these cells; of the seeds that every cell of the grid has."""
    shared = set.intersection(*(set(results.values(cell, spec)) for cell in results.found))
    values = [results.values(cell, spec) for cell in cells]
    return {seed: sum(each[seed] for each in values) / len(values) for seed in sorted(shared)}


def _shown(values: Mapping[int, float]) -> str:
    return percent(Summary(tuple(values.values()))) if values else NO_MODEL


def grid_tables(results: GridResults) -> list[tuple[str, Table, list[str]]]:
    """(title, table, notes)."""
    title = results.grid.title or "grid"
    failed = [f"{cell.name}: {why}" for cell, why in results.failed.items()]
    found = [(title, cell_table(results), [CELLS, *failed])]
    levels = level_table(results)
    return [*found, (f"{title}: level by level", levels, [LEVELS])] if levels.rows else found


def write_grid_report(results: GridResults, folder: Path, runs: Sequence[Path]) -> None:
    """Write report.md, report.html and grid.json; runs: folders of those whose own reports are named."""
    title = results.grid.title or "grid"
    text, body = [f"# {escape(title)}", escape(results.grid.about)], []
    for heading, content, said in grid_tables(results):
        text += [f"## {escape(heading)}", markdown_table(content), *map(escape, said)]
        notes = (f"<p class=note>{html.escape(one)}</p>" for one in said)
        body.append(section(heading, html_table(content), *notes))
    if links := run_links(folder, runs):
        text += links[0]
        body.append(links[1])
    write_text(folder / "report.md", "\n\n".join(one for one in text if one) + "\n")
    write_text(folder / "report.html", page(title, body))
    write_json(folder / "grid.json", _plain(results))


def _plain(results: GridResults) -> list[dict[str, Any]]:
    return [
        {
            "levels": dict(cell.levels),
            "seeds": {
                str(seed): {role: [one.to_dict() for one in found] for role, found in roles.items()}
                for seed, roles in seeds.items()
            },
            "failed": results.failed.get(cell),
        }
        for cell, seeds in results.found.items()
    ]
