"""Figure 3 of the study, for a grid: what is measured of students, CKA too, against how long they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipdistill.report.grids.drawing import Figure, Panel, labels_of_axes, legend, legend_height, series_style
from clipdistill.report.grids.results import Block, GridResults, balanced, level_of, others_of, scale_of
from clipdistill.report.tables import Summary, is_plain
from clipdistill.studies.figures import length_axis, length_name, teacher_axis, without_teacher
from clipdistill.studies.grid import GridCell
from clipdistill.studies.table import MeasureSpec

Point = tuple[GridCell, float, int, float]
"""Cell, epochs, seed, value."""


@dataclass(frozen=True)
class Drawn:
    """A chart: the mean of some measures."""

    key: str
    label: str
    specs: Sequence[MeasureSpec]


def length_figure(results: GridResults) -> Figure | None:
    """Over an axis `train.epochs`; without one, over the epochs whose students were kept; None without either."""
    lengths, axis = length_axis(results.grid), length_name(results.grid)
    by = teacher_axis(results.grid)
    panels: list[Panel] = []
    rows: list[list[Any]] = []
    for drawn in _charts(results):
        values = _by_epoch(results, drawn.specs) if lengths is None else _by_level(results, drawn.specs, lengths, axis)
        lines = _lines(values, by, axis, without_teacher(results.grid.axes[by]) if by else None)
        if len({length for line in lines.values() for length in line}) < 2:
            continue
        panels.append(_panel(drawn, lines))
        rows += [[drawn.key, name, length, one.mean, one.sd, one.n]
                 for name, line in lines.items() for length, one in line.items()]  # fmt: skip
    if not panels:
        return None
    said = (
        "The student after that epoch of its training." if lengths is None else "Students of trainings of that length."
    )
    notes = [
        f"{said} Means over the cells that all lines and lengths have; bars: the standard deviation over the seeds."
    ]
    columns = ["measure", by or "of", "epochs", "mean", "standard deviation", "seeds"]
    return Figure("length", "Longer training", notes, panels, columns, rows)


def _charts(results: GridResults) -> list[Drawn]:
    """The file's two groups and CKA, each measure of it apart; without groups a chart a measure."""
    measures, said = results.drawn(), results.grid.figures
    groups = {"imagenet_like": ("ImageNet-like", said.imagenet_like), "multimodal": ("Multimodal", said.multimodal)}
    found = [Drawn(key, label, [measures[one] for one in keys]) for key, (label, keys) in groups.items() if keys]
    if not found:
        return [Drawn(key, spec.label, [spec]) for key, spec in measures.items()]
    return found + [Drawn(key, spec.label, [spec]) for key, spec in measures.items() if is_plain(spec.metric)]


def _by_level(
    results: GridResults, specs: Sequence[MeasureSpec], lengths: Mapping[str, float], axis: str | None
) -> list[Point]:
    return [
        (cell, lengths[level_of(cell, str(axis))], seed, value)
        for cell in results.found
        for seed, value in _over([results.values(cell, spec) for spec in specs]).items()
    ]


def _by_epoch(results: GridResults, specs: Sequence[MeasureSpec]) -> list[Point]:
    found = []
    for cell, seeds in results.epochs.items():
        for epoch in sorted({epoch for kept in seeds.values() for epoch in kept}):
            values = _over([results.at_epoch(cell, spec, epoch) for spec in specs])
            found += [(cell, float(epoch), seed, value) for seed, value in values.items()]
    return found


def _lines(
    points: Sequence[Point], by: str | None, axis: str | None, none: str | None
) -> dict[str, dict[float, Summary]]:
    """Teacher (or "all") -> length -> what there is of it over the seeds.

    Cells without a teacher are a line of their own: there may be fewer of them, of one objective alone.
    """
    left_aside = [name for name in (by, axis) if name]
    with_teacher: dict[tuple[str, float], dict[Block, float]] = {}
    alone: dict[tuple[str, float], dict[Block, float]] = {}
    for cell, length, seed, value in points:
        name = level_of(cell, by) if by else "all"
        place = alone if by and name == none else with_teacher
        place.setdefault((name, length), {})[seed, others_of(cell, *left_aside)] = value
    lines: dict[str, dict[float, Summary]] = {}
    for (name, length), seeds in sorted({**balanced(with_teacher), **balanced(alone)}.items(), key=lambda e: e[0][1]):
        lines.setdefault(name, {})[length] = Summary(tuple(seeds.values()))
    order = {name: place for place, name in enumerate(dict.fromkeys(name for name, _ in [*with_teacher, *alone]))}
    return dict(sorted(lines.items(), key=lambda each: order[each[0]]))


def _over(each: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Seed -> mean over measures, of the seeds that have them all."""
    shared = set.intersection(*map(set, each))
    return {seed: sum(values[seed] for values in each) / len(each) for seed in sorted(shared)}


def _panel(drawn: Drawn, lines: dict[str, dict[float, Summary]]) -> Panel:
    scale = scale_of(drawn.specs[0].metric)
    names = list(lines) if list(lines) != ["all"] else []

    def draw(axis: Any) -> None:
        handles = []
        for number, line in enumerate(lines.values()):
            colour, marker = series_style(number)
            x, y, error = zip(*((length, scale * s.mean, scale * s.sd) for length, s in line.items()), strict=True)
            handles.append(axis.errorbar(x, y, yerr=error if any(error) else None, color=colour, marker=marker, ms=5,
                                         lw=1.5, elinewidth=1, capsize=2))  # fmt: skip
        lengths = sorted({length for line in lines.values() for length in line})
        if len(lengths) <= 8:
            axis.set_xticks(lengths, [f"{length:g}" for length in lengths])
        axis.margins(x=0.08, y=0.12)
        labels_of_axes(axis, "epochs", "" if scale == 1 else "per cent")
        if names:
            legend(axis, handles, names)

    return Panel(drawn.label, draw, 2.5 + legend_height(names))
