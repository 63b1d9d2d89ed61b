"""What was measured of a grid, and means over its cells that compare like with like."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from clipdistill.evaluate.results import Result
from clipdistill.report.tables import is_plain, metric_label
from clipdistill.report.words import FIRST_ASKED
from clipdistill.studies.figures import teacher_axis, without_teacher
from clipdistill.studies.grid import GridCell, StudyGrid
from clipdistill.studies.table import MeasureSpec

Values = Mapping[int, float]
"""Seed -> value of a measure: a fraction, or what else it is (`report.tables.is_plain`)."""
MOST = 6
"""Measures that are drawn where the file says none."""


@dataclass(frozen=True)
class GridResults:
    """What was measured of a grid.

    Attributes:
        found: cell -> seed -> role ("student", "teacher", "control", ...) -> results.
        failed: cell -> why a run of it failed.
        costs: cell -> seed -> role -> what the model costs.
        epochs: cell -> seed -> epoch -> results of its student after that epoch, where it was kept.
    """

    grid: StudyGrid
    found: Mapping[GridCell, Mapping[int, Mapping[str, Sequence[Result]]]]
    failed: Mapping[GridCell, str]
    costs: Mapping[GridCell, Mapping[int, Mapping[str, Mapping[str, float]]]] = field(default_factory=dict)
    epochs: Mapping[GridCell, Mapping[int, Mapping[int, Sequence[Result]]]] = field(default_factory=dict)

    @property
    def cells(self) -> list[GridCell]:
        return list(self.found)

    def measures(self) -> dict[str, MeasureSpec]:
        """Those of the file; else every whole metric of every suite (of a metric by parts, `q2a/TYPE`, the whole)."""
        if self.grid.measures:
            quality = self.grid.figures.teacher_quality  # perhaps of what no student is asked
            return {
                key: spec for key, spec in self.grid.measures.items()
                if key != quality or any(self.values(cell, spec) for cell in self.found)
            }  # fmt: skip
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

    def drawn(self) -> dict[str, MeasureSpec]:
        """The measures that figures show: the file's, else those that reports begin with, and CKA."""
        known = self.measures()
        if self.grid.measures:
            return known
        first = {key: spec for key, spec in known.items() if spec.metric in (*FIRST_ASKED, "cka")}
        return dict(list((first or known).items())[:MOST])

    def values(self, cell: GridCell, measure: MeasureSpec, role: str = "student") -> dict[int, float]:
        """Seed -> value."""
        found = {}
        for seed, roles in sorted(self.found.get(cell, {}).items()):
            value = _read(roles.get(role, ()), measure)
            if value is not None:
                found[seed] = value
        return found

    def at_epoch(self, cell: GridCell, measure: MeasureSpec, epoch: int) -> dict[int, float]:
        """Seed -> value of the student that was kept after an epoch."""
        read = {seed: _read(kept.get(epoch, ()), measure) for seed, kept in self.epochs.get(cell, {}).items()}
        return {seed: value for seed, value in sorted(read.items()) if value is not None}

    def cost(self, cell: GridCell, role: str, key: str) -> float | None:
        """The median over the seeds; None where nothing is known."""
        found = [roles[role][key] for roles in self.costs.get(cell, {}).values() if key in roles.get(role, {})]
        return statistics.median(found) if found else None

    def teacher_role(self) -> str:
        """What the varied teacher is called among several of a run."""
        axis = teacher_axis(self.grid)
        place = (self.grid.axes[axis].key or "").partition("teachers.")[2].partition(".")[0] if axis else ""
        named = f"teacher {int(place) + 1}" if place.isdigit() else "teacher"
        measured = {role for seeds in self.found.values() for roles in seeds.values() for role in roles}
        if named in measured:
            return named
        return "base" if "base" in measured and "teacher" not in measured else "teacher"

    @property
    def guide(self) -> str:
        """What students are set beside: their teacher, or where there is none what they started from, their base."""
        return "base" if self.teacher_role() == "base" else "teacher"

    def teachers(self) -> list[str]:
        """Levels of the axis of the teachers, without the one that is none; empty where there is no such axis."""
        axis = teacher_axis(self.grid)
        if axis is None:
            return []
        none = without_teacher(self.grid.axes[axis])
        return [level for level in self.levels(axis) if level != none]

    def levels(self, axis: str) -> list[str]:
        """Levels of an axis that cells have."""
        return list(dict.fromkeys(level_of(cell, axis) for cell in self.found))

    def teacher_quality(self, level: str, measure: MeasureSpec) -> float | None:
        """A teacher's own score: the mean over all runs that measured it, which differ by rounding alone."""
        axis, key = teacher_axis(self.grid), self.grid.figures.teacher_quality
        asked = self.grid.measures[key] if key else measure
        cells = [cell for cell in self.found if axis and level_of(cell, axis) == level]
        found = [value for cell in cells for value in self.values(cell, asked, self.teacher_role()).values()]
        return sum(found) / len(found) if found else None


def level_of(cell: GridCell, axis: str) -> str:
    """A cell's level of an axis."""
    return dict(cell.levels)[axis]


def others_of(cell: GridCell, *axes: str) -> tuple[tuple[str, str], ...]:
    """A cell's levels of all other axes."""
    return tuple((name, level) for name, level in cell.levels if name not in axes)


Block = tuple[int, tuple[tuple[str, str], ...]]
"""A seed, and levels of the axes that aren't compared."""
Key = TypeVar("Key")


def compared(cells: Sequence[GridCell], axis: str, values: Callable[[GridCell], Values]) -> dict[str, dict[int, float]]:
    """Levels of an axis over the same blocks: level -> seed -> mean over the cells that have it; see `balanced`."""
    known: dict[str, dict[Block, float]] = {}
    for cell in cells:
        for seed, value in values(cell).items():
            known.setdefault(level_of(cell, axis), {})[seed, others_of(cell, axis)] = value
    return balanced(known)


def balanced(known: Mapping[Key, Mapping[Block, float]]) -> dict[Key, dict[int, float]]:
    """What is compared -> seed -> mean over the blocks.

    Only blocks in which all have a value count, so that nothing is the better for having been run with the better
    students. What has no value at all isn't in `known`.
    """
    shared = set.intersection(*map(set, known.values())) if known else set()
    found: dict[Key, dict[int, float]] = {}
    for key, blocks in known.items():
        by_seed: dict[int, list[float]] = {}
        for seed, other in sorted(shared):
            by_seed.setdefault(seed, []).append(blocks[seed, other])
        if by_seed:
            found[key] = {seed: sum(each) / len(each) for seed, each in by_seed.items()}
    return found


def scale_of(metric: str) -> float:
    """What a value is multiplied by to be shown: rates in per cent."""
    return 1.0 if is_plain(metric) else 100.0


def _read(results: Sequence[Result], measure: MeasureSpec) -> float | None:
    for one in results:
        if (one.evaluator, one.data) == (measure.suite, measure.data) and measure.metric in one.metrics:
            return one.metrics[measure.metric]
    return None
