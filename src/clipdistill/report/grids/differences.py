"""Figure 2 of the study, for a grid: what students of each teacher gain, and how far they are from their teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipdistill.report.figures import COLOURS, GRID, INK, MUTED
from clipdistill.report.grids.drawing import Figure, Panel, labels_of_axes, short
from clipdistill.report.grids.results import GridResults, compared, level_of, scale_of
from clipdistill.report.tables import Summary
from clipdistill.report.words import change
from clipdistill.studies.figures import teacher_axis, without_teacher
from clipdistill.studies.grid import GridCell
from clipdistill.studies.table import MeasureSpec

Difference = Callable[[GridCell, MeasureSpec], dict[int, float]]


@dataclass(frozen=True)
class Against:
    """What students are compared with. of: (cell, measure) -> seed -> difference."""

    name: str
    said: str
    of: Difference
    level: str | None = None


def difference_figures(results: GridResults) -> list[Figure]:
    """Student less control (or no teacher, or the first teacher), and student less teacher; none without teachers."""
    levels = results.teachers()
    if len(levels) < 2:
        return []
    role, guide = results.teacher_role(), results.guide
    found = [_figure(results, "difference", f"What each {guide}'s students gain", reference(results))]
    behind = Against(f"their {guide}", f"the {guide} itself", lambda cell, spec: _less(results, cell, spec, role))
    found.append(_figure(results, "behind_teacher", f"How far students are from their {guide}", behind))
    return [figure for figure in found if figure is not None]


def reference(results: GridResults) -> Against:
    """The control where one was trained; else the cells without a teacher; else those of the first teacher.

    Cells of a level are matched by the axes that vary among them: without a teacher there may be one objective alone.
    """
    if any("control" in roles for seeds in results.found.values() for roles in seeds.values()):
        said = "the control, the same student trained without a teacher"
        return Against("the control", said, lambda cell, spec: _less(results, cell, spec, "control"))
    axis = str(teacher_axis(results.grid))
    none = without_teacher(results.grid.axes[axis])
    level = none if none in results.levels(axis) else results.teachers()[0]
    known = [cell for cell in results.found if level_of(cell, axis) == level]
    varied = [name for name in results.grid.axes if name != axis and len({level_of(c, name) for c in known}) > 1]

    def of(cell: GridCell, spec: MeasureSpec) -> dict[int, float]:
        same = [one for one in known if all(level_of(one, name) == level_of(cell, name) for name in varied)]
        other = results.values(same[0], spec) if same else {}
        return {seed: value - other[seed] for seed, value in results.values(cell, spec).items() if seed in other}

    said = f"the same student of {level}" if level != none else "the same student trained without a teacher"
    return Against("no teacher" if level == none else str(level), said, of, level)


def _less(results: GridResults, cell: GridCell, spec: MeasureSpec, role: str) -> dict[int, float]:
    other = results.values(cell, spec, role)
    return {seed: value - other[seed] for seed, value in results.values(cell, spec).items() if seed in other}


def _figure(results: GridResults, name: str, title: str, against: Against) -> Figure | None:
    axis = str(teacher_axis(results.grid))
    levels = [level for level in results.teachers() if level != against.level]
    cells = [cell for cell in results.found if level_of(cell, axis) in levels]
    panels: list[Panel] = []
    rows: list[list[Any]] = []
    for key, spec in results.drawn().items():
        means = compared(cells, axis, lambda cell, spec=spec: against.of(cell, spec))  # type: ignore[misc]
        if not means:
            continue
        each = {level: [_mean(against.of(cell, spec)) for cell in cells if level_of(cell, axis) == level]
                for level in levels}  # fmt: skip
        shown = {level: (Summary(tuple(means[level].values())), [v for v in each[level] if v is not None])
                 for level in levels if level in means}  # fmt: skip
        panels.append(_panel(spec, shown, against.name))
        for level in shown:
            rows += [[key, level, seed, value] for seed, value in means[level].items()]
    if not panels:
        return None
    notes = [
        f"Student less {against.said}. Large marks: the mean over the cells that all {results.guide}s have, with the "
        "standard deviation over the seeds where there is one. Small marks: single cells. Rates in points."
    ]
    return Figure(name, title, notes, panels, ["measure", axis, "seed", "difference"], rows)


def _panel(spec: MeasureSpec, shown: dict[str, tuple[Summary, list[float]]], against: str) -> Panel:
    scale, plain = scale_of(spec.metric), scale_of(spec.metric) == 1

    def draw(axis: Any) -> None:
        axis.grid(visible=False)
        colour = COLOURS["student"]
        for place, (level, (summary, cells)) in enumerate(shown.items()):
            y = -place
            axis.axhline(y, color=GRID, lw=0.6, zorder=0)
            axis.plot([0, 0], [y - 0.2, y + 0.2], color=MUTED, lw=1.3, zorder=1)  # short: names stand between
            axis.plot(
                [scale * value for value in cells], [y] * len(cells), "o", ms=3.5, color=colour, alpha=0.35, mew=0
            )
            error = scale * summary.sd if summary.spread else None
            axis.errorbar(scale * summary.mean, y, xerr=error, fmt="D", ms=6, color=colour, ecolor=INK, elinewidth=1.3,
                          capsize=2.5)  # fmt: skip
            text = {"transform": axis.get_yaxis_transform(), "va": "bottom", "fontsize": 8.5, "color": INK}
            axis.text(0, y + 0.24, short(level, 30), **text)
            axis.text(1, y + 0.24, change(summary, spec.metric), ha="right", **text)
        axis.set_ylim(-len(shown) + 0.6, 0.75)
        axis.set_yticks([])
        axis.margins(x=0.06)
        labels_of_axes(axis, f"{'difference from' if plain else 'points over'} {short(against, 30)}")

    return Panel(spec.label, draw, 0.75 + 0.42 * len(shown))


def _mean(values: dict[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
