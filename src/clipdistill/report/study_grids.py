"""The report of a grid: a row a cell, a column a measure, what each level of an axis comes to, and its figures."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdistill.evaluate.results import Result
from clipdistill.files import atomic_path, write_json, write_text
from clipdistill.report.content import NO_MODEL, Table
from clipdistill.report.grids.differences import difference_figures
from clipdistill.report.grids.drawing import Figure, html_of, png_of
from clipdistill.report.grids.lengths import length_figure
from clipdistill.report.grids.neighbours import SAID, neighbour_table
from clipdistill.report.grids.pareto import pareto_figures
from clipdistill.report.grids.results import GridResults, level_of
from clipdistill.report.grids.teachers import LEVEL, Answer, answer_table, answers, numbering, question, teacher_figure
from clipdistill.report.html_page import page, section
from clipdistill.report.html_page import table as html_table
from clipdistill.report.markdown import escape
from clipdistill.report.markdown import table as markdown_table
from clipdistill.report.paper import paper_facts, paper_source
from clipdistill.report.run_links import run_links
from clipdistill.report.tables import Summary
from clipdistill.report.words import shown
from clipdistill.studies.grid import GridCell
from clipdistill.studies.table import MeasureSpec

__all__ = ["GridResults", "cell_table", "grid_figures", "grid_tables", "level_table", "write_grid_report"]
CELLS = "Students: mean ± standard deviation over the seeds that are done. Rates in per cent."
LEVELS = (
    "Students: each level's mean over the cells that have it, ± the standard deviation over the seeds. Only seeds that "
    "all of an axis's cells have count, so that levels are compared on the same cells."
)


def cell_table(results: GridResults) -> Table:
    """A row a cell: its levels, then each measure."""
    measures, axes = results.measures(), list(results.grid.axes)
    rows = []
    for cell in results.found:
        cells = [_shown(results.values(cell, spec), spec) for spec in measures.values()]
        if cell in results.failed:
            cells = [f"{one} (failed)" if one != NO_MODEL else "failed" for one in cells]
        rows.append([*(level for _, level in cell.levels), *cells])
    return Table([*axes, *(spec.label for spec in measures.values())], rows, numbers=len(axes))


def level_table(results: GridResults) -> Table:
    """A row a level of an axis: its mean over cells, seed by seed."""
    measures = results.measures()
    rows = []
    for axis in results.grid.axes:
        levels = results.levels(axis)
        if len(levels) < 2:
            continue
        for level in levels:
            cells = [cell for cell in results.found if level_of(cell, axis) == level]
            rows.append([axis, level, *(_shown(_over_cells(results, cells, one), one) for one in measures.values())])
    return Table(["axis", "level", *(spec.label for spec in measures.values())], rows, numbers=2)


def _over_cells(results: GridResults, cells: Sequence[GridCell], spec: MeasureSpec) -> dict[int, float]:
    """Seed -> mean over these cells; of the seeds that every cell of the grid has."""
    shared = set.intersection(*(set(results.values(cell, spec)) for cell in results.found))
    values = [results.values(cell, spec) for cell in cells]
    return {seed: sum(each[seed] for each in values) / len(values) for seed in sorted(shared)}


def _shown(values: Mapping[int, float], spec: MeasureSpec) -> str:
    return shown(Summary(tuple(values.values())), spec.metric) if values else NO_MODEL


def grid_tables(results: GridResults, found: list[Answer] | None = None) -> list[tuple[str, Table, list[str]]]:
    """(title, table, notes). found: what `answers` gave, which takes a while; None = ask it."""
    title = results.grid.title or "grid"
    failed = [f"{cell.name}: {why}" for cell, why in results.failed.items()]
    tables = [(title, cell_table(results), [CELLS, *failed])]
    levels = level_table(results)
    if levels.rows:
        tables.append((f"{title}: level by level", levels, [LEVELS]))
    found = answers(results) if found is None else found
    if found:
        said = [*(one.said for one in found), LEVEL.format(results.guide)]
        tables.append((question(results), answer_table(found), said))
        if (beside := neighbour_table(results, found)) is not None:
            tables.append((f"{results.guide.capitalize()}s two by two", beside, [SAID]))
    return tables


def grid_figures(results: GridResults, found: list[Answer]) -> list[Figure]:
    """All that the grid has numbers for."""
    beside = teacher_figure(results, found)
    length = length_figure(results)
    return [
        *difference_figures(results),
        *([length] if length else []),
        *([beside] if beside else []),
        *pareto_figures(results, numbering(results, found)),
    ]


def write_grid_report(results: GridResults, folder: Path, runs: Mapping[Path, str]) -> None:
    """Write report.md, report.html, grid.json, and each figure's picture and numbers (report_files/).

    runs: folder -> what it is called, of those whose own reports are named.
    """
    title, found = results.grid.title or "grid", answers(results)
    figures = grid_figures(results, found)
    text, body = [f"# {escape(title)}", escape(results.grid.about)], []
    for heading, content, said in grid_tables(results, found):
        text += [f"## {escape(heading)}", markdown_table(content), *map(escape, said)]
        body.append(section(heading, html_table(content), _notes(said)))
    for figure in figures:
        place = f"report_files/{figure.name}"
        with atomic_path(folder / f"{place}.png") as temporary:
            temporary.write_bytes(png_of(figure))
        write_text(folder / f"{place}.csv", _csv(figure))
        text += [f"## {escape(figure.title)}", f"![{escape(figure.title)}]({place}.png)", *map(escape, figure.notes)]
        numbers = f'<p class=note><a href="{place}.csv">the numbers</a></p>'
        body.append(section(figure.title, html_of(figure), _notes(figure.notes), numbers))
    if printed := _printed(results.grid.paper):
        text += ["## Beside the paper", *(escape(one) for one in printed)]
        body.append(section("Beside the paper", _notes(printed)))
    if links := run_links(folder, runs):
        text += links[0]
        body.append(links[1])
    write_text(folder / "report.md", "\n\n".join(one for one in text if one) + "\n")
    write_text(folder / "report.html", page(title, body))
    write_json(folder / "grid.json", {"cells": _plain(results), "answers": [_answer(one) for one in found]})


def _notes(said: Sequence[str]) -> str:
    return "".join(f"<p class=note>{html.escape(one)}</p>" for one in said)


def _csv(figure: Figure) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([figure.columns, *figure.rows])
    return text.getvalue()


def _printed(paper: str | None) -> list[str]:
    """What a paper prints, where the grid names one."""
    return [] if paper is None else [paper_source(paper), *(f"{fact}." for fact in paper_facts(paper))]


def _answer(one: Answer) -> dict[str, Any]:
    ranked = None if one.found is None else one.found.__dict__
    return {"measure": one.key, "said": one.said, "teachers": one.teachers, "ranks": ranked}


def _numbers(one: Result) -> dict[str, Any]:
    """A result without its artifacts: matrices and names of samples lie in each run."""
    return {key: value for key, value in one.to_dict().items() if key != "artifacts"}


def _plain(results: GridResults) -> list[dict[str, Any]]:
    return [
        {
            "levels": dict(cell.levels),
            "seeds": {
                str(seed): {role: [_numbers(one) for one in found] for role, found in roles.items()}
                for seed, roles in seeds.items()
            },
            "costs": {str(seed): dict(roles) for seed, roles in results.costs.get(cell, {}).items()},
            "epochs": {
                str(seed): {str(epoch): [_numbers(one) for one in found] for epoch, found in kept.items()}
                for seed, kept in results.epochs.get(cell, {}).items()
            },
            "failed": results.failed.get(cell),
        }
        for cell, seeds in results.found.items()
    ]
