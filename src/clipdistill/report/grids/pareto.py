"""Quality against what a model costs, parameters or FLOPs, and the models that no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipdistill.report.figures import COLOURS, GRID, INK
from clipdistill.report.grids.drawing import Figure, Panel, labels_of_axes, legend, legend_height, series_style
from clipdistill.report.grids.results import GridResults, level_of
from clipdistill.report.grids.teachers import key_of
from clipdistill.report.tables import is_plain
from clipdistill.report.words import amount
from clipdistill.studies.figures import student_axis, teacher_axis
from clipdistill.studies.table import MeasureSpec

COSTS = {"parameters": "parameters", "flops_per_pair": "FLOPs a pair of picture and text"}


PLAIN = ("controls", "teachers", "bases")
"""Series that aren't students."""


@dataclass(frozen=True)
class Model:
    """A point: series is its colour's name, number that of a teacher."""

    series: str
    name: str
    cost: float
    quality: float
    number: int | None = None


def pareto_figures(results: GridResults, numbers: dict[str, int]) -> list[Figure]:
    """A figure for each cost that is known, a chart a measure that is a rate."""
    found = []
    for key, label in COSTS.items():
        charts = {}
        for name, spec in results.drawn().items():
            if not is_plain(spec.metric) and (models := _models(results, spec, key, numbers)):
                charts[name] = (spec, models)
        if not charts:
            continue
        panels = [_panel(spec, models, label) for spec, models in charts.values()]
        rows: list[list[Any]] = [
            [name, one.series, one.name, one.cost, one.quality, one in front(models)]
            for name, (_, models) in charts.items() for one in models
        ]  # fmt: skip
        taught = any(one.number for _, models in charts.values() for one in models)
        said = (
            "A point is a cell's students, the mean over the seeds. The line joins what no other model beats in both."
        )
        notes = [f"{said} {key_of(numbers, results.guide)}" if taught else said]
        columns = ["measure", "series", "model", key, "quality", "on the front"]
        found.append(Figure(f"pareto_{key}", f"Quality against {label}", notes, panels, columns, rows))
    return found


def front(models: Sequence[Model]) -> list[Model]:
    """Those that no other beats: none is as cheap and better, or cheaper and as good. Cheapest first."""
    kept: list[Model] = []
    for one in sorted(models, key=lambda model: (model.cost, -model.quality)):
        if not kept or one.quality > kept[-1].quality:
            kept.append(one)
    return kept


def _models(results: GridResults, spec: MeasureSpec, key: str, numbers: dict[str, int]) -> list[Model]:
    """Students and controls of each cell, and each teacher once."""
    student, teacher, role = student_axis(results.grid), teacher_axis(results.grid), results.teacher_role()
    found: list[Model] = []
    for cell in results.found:
        series = level_of(cell, student) if student else "students"
        for who, name in (("student", series), ("control", "controls")):
            values, cost = list(results.values(cell, spec, who).values()), results.cost(cell, who, key)
            if values and cost:
                found.append(Model(name, cell.name, cost, sum(values) / len(values)))
    for level in results.teachers():
        costs = [
            results.cost(cell, role, key) for cell in results.found if teacher and level_of(cell, teacher) == level
        ]
        own = [
            value for cell in results.found if teacher and level_of(cell, teacher) == level
            for value in results.values(cell, spec, role).values()
        ]  # fmt: skip
        cost = next((one for one in costs if one), None)
        if own and cost:
            found.append(Model(f"{results.guide}s", level, cost, sum(own) / len(own), numbers.get(level)))
    return found


def _panel(spec: MeasureSpec, models: Sequence[Model], label: str) -> Panel:
    names = sorted(dict.fromkeys(one.series for one in models), key=lambda name: name in PLAIN)

    def draw(axis: Any) -> None:
        best = front(models)
        axis.step(
            [one.cost for one in best], [100 * one.quality for one in best], where="post", color=INK, lw=1, zorder=1
        )
        handles = []
        for number, name in enumerate(names):
            colour, marker = series_style(number)
            look: dict[str, Any] = {"color": colour, "marker": marker, "alpha": 0.8, "linewidths": 0}
            if name in PLAIN:
                colour = COLOURS["control" if name == "controls" else "teacher"]
                look = {"facecolors": "none", "edgecolors": colour, "marker": "v" if name == "controls" else "h",
                        "linewidths": 1.3}  # fmt: skip
            some = [one for one in models if one.series == name]
            handles.append(
                axis.scatter([one.cost for one in some], [100 * one.quality for one in some], s=34, zorder=2, **look)
            )
        axis.set_xscale("log")
        axis.margins(x=0.12, y=0.1)
        _ticks(axis, [one.cost for one in models])
        _number(axis, [one for one in models if one.number is not None])
        labels_of_axes(axis, label, "per cent")
        legend(axis, handles, names)

    return Panel(spec.label, draw, 2.7 + legend_height(names))


def _ticks(axis: Any, costs: Sequence[float]) -> None:
    """1, 2, 5 and their tens, as many as there is room for, in words like 5M."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = min(costs) / 1.5, max(costs) * 1.5
    steps = (1, 2, 5) if high / low < 60 else (1,)
    places = [step * 10.0**power for power in range(0, 16) for step in steps]
    axis.xaxis.set_major_locator(FixedLocator([place for place in places if low <= place <= high]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))


def _number(axis: Any, teachers: Sequence[Model]) -> None:
    """Each teacher's number to the right of its mark, moved up where two would touch."""
    placed: list[tuple[float, float]] = []
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    for one in sorted(teachers, key=lambda model: model.quality):
        x = math.log(one.cost / left) / math.log(right / left)
        y = at = (100 * one.quality - low) / (high - low)
        while any(abs(x - a) < 0.08 and abs(at - b) < 0.075 for a, b in placed):
            at += 0.01
        placed.append((x, at))
        axis.annotate(
            str(one.number), (one.cost, low + at * (high - low)), xytext=(7, 0), textcoords="offset points",
            fontsize=8.5, va="center", color=INK, annotation_clip=False,
        )  # fmt: skip
        if at > y:
            moved = low + at * (high - low)
            axis.plot([one.cost, one.cost], [100 * one.quality, moved], lw=0.5, color=GRID, zorder=0)
