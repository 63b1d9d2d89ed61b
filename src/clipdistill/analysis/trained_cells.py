"""What came of the cells that were trained: teacher -> the students' scores, from a file or from RUN folders."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError, nearest
from clipdistill.evaluate.results import Result
from clipdistill.recipe import TeacherSpec
from clipdistill.report.records import RunRecord, read_run

RECALLS = ("text_to_image/recall@1", "image_to_text/recall@1")
ACCURACY = "top1"
SAME = ("student", "data", "petri", "task", "train", "stages", "regions", "evaluate")
"""Parts of a recipe in which runs that are compared must agree: they differ in teacher and seed alone."""


@dataclass(frozen=True)
class Outcome:
    """Teacher -> the score of its student, one a seed; and what the score is."""

    scores: dict[str, list[float]]
    metric: str


def score_of(results: Sequence[Result], metric: str | None = None, where: str = "--metric") -> tuple[float, str]:
    """One number of what was measured, and its name.

    Args:
        metric: by its name; the mean over all results that have it. None = top-1 accuracy where some have it, else
            the mean of recall@1 of both directions.

    Raises:
        UserError: nothing of that name was measured.
    """
    known = list(dict.fromkeys(name for result in results for name in result.metrics))
    if metric is None:
        wanted = [ACCURACY] if ACCURACY in known else list(RECALLS)
        metric = ACCURACY if ACCURACY in known else "recall@1"
    else:
        wanted = [metric]
    found = [result.metrics[name] for result in results for name in wanted if name in result.metrics]
    if not found:
        listed = f"; there is {', '.join(known)}" if known else "; nothing was measured"
        raise UserError(f"{where}: {metric} wasn't measured.{nearest(metric, known)}{listed}")
    return sum(found) / len(found), metric


def read_outcome(given: Sequence[str | Path], metric: str | None = None) -> Outcome:
    """Read one JSON file (teacher -> score, or a list of them, one a seed), or RUN folders of one teacher each.

    Args:
        metric: of RUN folders; see `score_of`.

    Raises:
        UserError: anything else, runs that differ in more than teacher and seed, or a run that wasn't measured.
    """
    paths = [Path(one) for one in given]
    if len(paths) == 1 and paths[0].suffix == ".json":
        return Outcome(_read_file(paths[0]), metric or "score")
    runs = [read_run(path) for path in paths]
    _require_alike(runs)
    scores: dict[str, list[float]] = {}
    seen: dict[tuple[str, Any], Path] = {}
    name = metric or ""
    for run in sorted(runs, key=lambda one: str(one.seed)):
        teacher = _teacher(run)
        if (teacher, run.seed) in seen:
            raise UserError(
                f"--outcome {run.path}: {teacher} with seed {run.seed} comes from {seen[teacher, run.seed]} too; give "
                "each cell once"
            )
        seen[teacher, run.seed] = run.path
        if "student" not in run.models:
            raise UserError(f"--outcome {run.path}: its student wasn't measured; add `evaluate` and --resume the run")
        value, name = score_of(run.models["student"].results, metric, f"--outcome {run.path}")
        scores.setdefault(teacher, []).append(value)
    return Outcome(scores, name)


def matched(outcome: Outcome, teachers: Sequence[str]) -> Outcome:
    """The outcome under the names that the forecast has: the same name, or the same folder.

    Raises:
        UserError: a cell whose teacher wasn't forecast, or fewer than 2 cells.
    """
    found: dict[str, list[float]] = {}
    for name, scores in outcome.scores.items():
        own = next((one for one in teachers if one == name or _same_folder(one, name)), None)
        if own is None:
            raise UserError(f"--outcome: {name} was trained from but isn't among the teachers; add --teacher {name}")
        found[own] = scores
    if len(found) < 2:
        raise UserError(f"--outcome: {len(found)} of the teachers has a trained student; it takes 2 to be ordered")
    return Outcome(found, outcome.metric)


def _same_folder(one: str, other: str) -> bool:
    return Path(one).is_dir() and Path(other).is_dir() and Path(one).samefile(other)


def _teacher(run: RunRecord) -> str:
    teachers = run.recipe.get("teachers") or []
    if len(teachers) != 1:
        raise UserError(f"--outcome {run.path}: its recipe names {len(teachers)} teachers; a cell has one")
    return TeacherSpec.model_validate(teachers[0]).label


def _require_alike(runs: Sequence[RunRecord]) -> None:
    first = runs[0]
    for run in runs[1:]:
        other = [key for key in SAME if run.recipe.get(key) != first.recipe.get(key)]
        if other:
            raise UserError(
                f"--outcome {run.path}: `{other[0]}` isn't that of {first.path}; compare runs that differ in teacher "
                "and seed alone"
            )


def _read_file(path: Path) -> dict[str, list[float]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--outcome {path}: can't be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f'--outcome {path}: must hold {{"teacher": score, ...}}, or a list of scores, one a seed')
    scores: dict[str, list[float]] = {}
    for name, value in content.items():
        many = value if isinstance(value, list) else [value]
        if not many or not all(_number(one) for one in many):
            raise UserError(f"--outcome {path}: `{name}` is {value!r}; give a number, or a list of them, one a seed")
        scores[name] = [float(one) for one in many]
    return scores


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
