"""The student after each epoch, where they were kept and measured: a table, and a line a measure."""

from __future__ import annotations

import math
from typing import Any

from clipdistill.report.content import NO_MODEL, Table
from clipdistill.report.figures import COLOURS, INK, MUTED, axes_style, pyplot
from clipdistill.report.tables import Group, Row, Summary, metric_label
from clipdistill.report.words import headline_rows, shown


def epoch_table(group: Group) -> Table | None:
    """By epoch, per cent or as it is, of what the report's headline is about; None where no epoch was kept."""
    rows, numbers = _rows(group), epoch_numbers(group)
    if not rows or not numbers:
        return None
    cells = []
    for number in numbers:
        values = [(row.metric, epoch_values(group, row, number)) for row in rows]
        cells.append(
            [str(number), *(shown(Summary(tuple(each)), metric) if each else NO_MODEL for metric, each in values)]
        )
    return Table(["epoch", *(_label(row) for row in rows)], cells, numbers=1)


def epoch_figure(group: Group) -> Any | None:
    """A panel a measure over epochs: the mean over the runs, and a band from the least to the most."""
    rows, numbers = _rows(group), epoch_numbers(group)
    if not rows or len(numbers) < 2:
        return None
    plt = pyplot()
    columns = min(2, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5.3 * columns, 2.35 * lines), squeeze=False)
    for axis in axes.flat[len(rows) :]:
        axis.axis("off")
    for axis, row in zip(axes.flat, rows, strict=False):
        known = [number for number in numbers if epoch_values(group, row, number)]
        scale = 1 if row.plain else 100
        values = [[scale * value for value in epoch_values(group, row, number)] for number in known]
        if len(group.runs) > 1:
            axis.fill_between(known, [min(v) for v in values], [max(v) for v in values], color=COLOURS["student"],
                              alpha=0.18, lw=0)  # fmt: skip
        axis.plot(known, [sum(v) / len(v) for v in values], color=COLOURS["student"], lw=1.6, marker="o", ms=3)
        axis.set_title(_label(row) if row.plain else f"{_label(row)}, %", loc="left", fontsize=10, color=INK)
        axis.set_xlabel("epoch", fontsize=8, color=MUTED)
        axes_style(axis)
    figure.tight_layout()
    return figure


def _rows(group: Group) -> list[Row]:
    """What the headline is about, and how alike student and teacher are."""
    return headline_rows(group) + [row for row in group.rows if row.metric == "cka" and "student" in row.values]


def _label(row: Row) -> str:
    return f"{row.data}, {metric_label(row.metric)}"


def epoch_numbers(group: Group) -> list[int]:
    """The epochs of which any run kept and measured its student."""
    return sorted({number for run in group.runs for number in run.epochs})


def epoch_values(group: Group, row: Row, number: int) -> list[float]:
    """A row's number after an epoch, of each run that has it."""
    found = []
    for run in group.runs:
        for one in run.epochs.get(number, ()):
            if (one.evaluator, one.data) == (row.evaluator, row.data) and row.metric in one.metrics:
                found.append(one.metrics[row.metric])
    return found
