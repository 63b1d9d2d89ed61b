"""Grids whose numbers are made up, for the tests of their reports."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from clipdistill.evaluate.results import Result
from clipdistill.report.grids.results import GridResults
from clipdistill.studies.grid import StudyGrid, grid_cells

TEACHERS = {"weak": 0.2, "fair": 0.4, "good": 0.6, "best": 0.8}
STUDENTS = {"tiny": 2e5, "small": 9e5}
MEASURES = {
    "top1": {"label": "unseen, top-1", "suite": "zero_shot", "data": "unseen", "metric": "top1"},
    "vqa": {"label": "VQA accuracy", "suite": "vqa", "data": "vqa", "metric": "accuracy"},
    "cka": {"label": "CKA with the teacher", "suite": "likeness", "data": "unseen", "metric": "cka"},
}


def grid_of(teachers: Sequence[str] = tuple(TEACHERS), **changes: Any) -> StudyGrid:
    """Teachers by students by objectives, over a recipe that nobody opens."""
    axes = {
        "teacher": {"key": "teachers.0.model", "values": list(teachers)},
        "student": {"key": "student", "values": list(STUDENTS)},
        "loss": {"levels": {"fd": ["task.weights={fd: 1}"], "icl": ["task.weights={icl: 1}"]}},
    }
    return StudyGrid.model_validate({"recipe": "r", "title": "Made up", "axes": axes, "measures": MEASURES} | changes)


def results_of(metrics: Mapping[str, float]) -> list[Result]:
    """One result a measure of MEASURES."""
    return [
        Result(MEASURES[key]["suite"], MEASURES[key]["data"], 100, {MEASURES[key]["metric"]: value})
        for key, value in metrics.items()
    ]


def made_up(grid: StudyGrid, seeds: int = 3, control: bool = True, epochs: Sequence[int] = ()) -> GridResults:
    """Students whose top-1 grows with their teacher's and whose VQA falls with it; the same numbers every time."""
    found: dict[Any, Any] = {}
    costs: dict[Any, Any] = {}
    kept: dict[Any, Any] = {}
    for cell in grid_cells(grid):
        levels = dict(cell.levels)
        quality = TEACHERS.get(levels.get("teacher", ""), 0.5)
        base = 0.3 if levels.get("student") == "small" else 0.2
        found[cell], costs[cell], kept[cell] = {}, {}, {}
        for seed in range(seeds):
            noise = random.Random(f"{cell.name} {seed}").gauss(0, 0.004)
            length = float(levels.get("epochs", 8))
            student = {"top1": base + 0.1 * quality + 0.01 * length + noise, "vqa": base + 0.2 - 0.05 * quality + noise,
                       "cka": 0.3 + 0.3 * quality + noise}  # fmt: skip
            teacher = {"top1": quality, "vqa": quality - 0.1}
            roles = {"teacher": results_of(teacher), "student": results_of(student)}
            sizes = {"teacher": 1e6 * (1 + 5 * quality), "student": STUDENTS.get(levels.get("student", ""), 2e5)}
            if control:
                roles["control"] = results_of({"top1": base + noise / 2, "vqa": base + 0.19, "cka": 0.2})
                sizes["control"] = sizes["student"]
            found[cell][seed] = roles
            costs[cell][seed] = {role: {"parameters": n, "flops_per_pair": 90 * n} for role, n in sizes.items()}
            if epochs:
                kept[cell][seed] = {
                    n: results_of({key: value * (1 - 0.4 / n) for key, value in student.items()}) for n in epochs
                }
    return GridResults(grid, found, {}, costs, kept)
