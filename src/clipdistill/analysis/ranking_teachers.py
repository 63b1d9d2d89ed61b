"""`clipdistill rank-teachers`: from embeddings, before any training, which teacher will serve a student and data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdistill.analysis.forecasting import Pairs, over_seeds, own_scores, parts_of, ranked, signed, student_scores
from clipdistill.analysis.told import Items, Teacher, ask, open_stores, open_teacher, plan_of
from clipdistill.analysis.trained_cells import matched, read_outcome, score_of
from clipdistill.analysis.untrained import Features, StudentSpec, read_student, student_features
from clipdistill.data import Mixture
from clipdistill.data.draws import uniforms
from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.evaluate.rank_correlation import against_baselines
from clipdistill.evaluate.sources import open_sources
from clipdistill.evaluate.suites import Evaluation, open_suite
from clipdistill.files import require_writable, write_json
from clipdistill.recipe import EvaluateSpec
from clipdistill.runs.data import open_data
from clipdistill.runs.evaluation import check_suite, run_suite

LEAST = 50


def rank_teachers(
    student: str,
    teachers: Sequence[str],
    data: str | None = None,
    *,
    count: int | None = None,
    features: Features = "embedding",
    neighbours: int = 10,
    seed: int | None = None,
    seeds: int = 1,
    accuracy: tuple[str, str] | None = None,
    outcome: Sequence[str | Path] = (),
    metric: str | None = None,
    batch_size: int = 128,
    workers: int = 1,
    json_path: Path | None = None,
) -> dict[str, Any]:
    """Score teachers for a student that isn't trained yet, and rank them by each score.

    Args:
        student: a recipe (name or file), whose student is meant, or a model by name or folder.
        teachers: two or more, each MODEL, MODEL=STORE (written first where there is none), or the folder of a store.
        data: pictures with captions, as a path or format:path@split; None = the recipe's training data.
        count: draw so many of them by seed; None = all.
        features: of the student; see `untrained.student_features`. neighbours: k.
        seed: of the draw, of the student's first weights and of the parts; None = the recipe's, or 0. seeds: so many,
            from `seed` on, of weights and parts; scores are their means.
        accuracy: (suite, data) to measure the teachers' accuracy on; None = retrieval among the pictures of `data`.
        outcome: a JSON file or RUN folders of students trained since (`trained_cells.read_outcome`); how well each
            score ordered them is added. metric: of RUN folders and of the accuracy; see `trained_cells.score_of`.
        batch_size: pictures at once; workers: processes that decode them. Neither changes more than the rounding.
        json_path: where to write what is returned.

    Returns:
        `teachers`: `name`, `origin`, `width`, `scores`, `sd` (over seeds), `ranks` (1 = best, ties share); `student`,
        `data`, `items`, `parts`, `left_out`, `settings`, `chance` (of `neighbours`), and with an outcome `outcome`.

    Raises:
        UserError: anything missing or that can't be compared, in one line, before pictures are read where it can be
            known by then.
    """
    if json_path is not None:
        if json_path.is_dir():
            raise UserError(f"--json {json_path}: is a folder; give a file")
        require_writable(json_path, "--json")
    spec = read_student(student)
    opened = [open_teacher(given, index) for index, given in enumerate(teachers)]
    names = [teacher.name for teacher in opened]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"--teacher: {', '.join(names) or 'none'} given; name two or more different ones")
    trained = matched(read_outcome(outcome, metric), names) if outcome else None
    measure = None if accuracy is None else _suite(accuracy, opened)
    seed = spec.seed if seed is None else seed
    named = f"{student}'s training data" if data is None else data
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    items = Items(_mixture(data, spec, student), plan_of(opened), device, batch_size, workers)
    _draw(items, count, seed)
    _require_enough(len(items.rows), named, neighbours)
    open_stores(opened, items)

    told = [ask(teacher, items) for teacher in opened]
    drawn = range(seed, seed + seeds)
    parts = [parts_of(items.names, each) for each in drawn]
    seen = [
        student_features(spec, items, features, each, items.rows[part == 0])
        for each, part in zip(drawn, parts, strict=True)
    ]
    readable = np.all([np.isfinite(each).all(axis=1) for each in (*(one.image for one in told), *seen)], axis=0)
    _require_enough(int(readable.sum()), named, neighbours)
    pairs = Pairs(items, readable)
    shared = min([int(readable.sum()) - 1, *(one.image.shape[1] for one in told)])
    rows: list[dict[str, Any]] = []
    for teacher, one in zip(opened, told, strict=True):
        fixed = own_scores(one, pairs) | {"parameters": teacher.parameters}
        if measure is not None:
            fixed["accuracy"] = _measured(measure, teacher, items, metric)
        scores, spread = over_seeds(
            [student_scores(x, one, pairs, part, neighbours, shared) for x, part in zip(seen, parts, strict=True)]
        )
        rows.append({"name": teacher.name, "origin": teacher.origin, "width": one.image.shape[1],
                     "scores": fixed | scores, "sd": spread, "ranks": {}})  # fmt: skip
    for name in rows[0]["scores"]:
        for row, rank in zip(rows, ranked([row["scores"][name] for row in rows], name), strict=True):
            row["ranks"][name] = rank
    kept = int(readable.sum())
    content: dict[str, Any] = {
        "student": spec.name, "data": named, "items": kept, "left_out": len(readable) - kept,
        "parts": [int((parts[0][readable] == part).sum()) for part in range(3)],
        "settings": {"features": features, "neighbours": neighbours, "seed": seed, "seeds": seeds, "count": count,
                     "shared_width": shared, "accuracy": "retrieval" if accuracy is None else "=".join(accuracy)},
        "chance": {"neighbours": neighbours / (kept - 1)}, "teachers": rows, "outcome": None,
    }  # fmt: skip
    if trained is not None:
        content["outcome"] = {
            "metric": trained.metric, "cells": trained.scores,
            "scores": against_baselines(signed(rows), trained.scores, seed=seed),
        }  # fmt: skip
    if json_path is not None:
        write_json(json_path, content)
    return content


def _mixture(data: str | None, spec: StudentSpec, student: str) -> Mixture:
    if data is None:
        if spec.recipe is None:
            raise UserError(
                f"--data is missing: {student} is a model; say on which pictures, or give a recipe as --student"
            )
        return open_data(spec.recipe, Ranks.current()).mixture
    try:
        (source,) = open_sources(data).values()
        return Mixture([(source, None)])
    except UserError as error:
        raise UserError(f"--data: {error}") from error


def _draw(items: Items, count: int | None, seed: int) -> None:
    """Keep so many pictures, those whose ids hash lowest: stores are of all, and the order has no say."""
    if count is None:
        return
    if count > len(items.rows):
        raise UserError(f"--count {count}: there are {len(items.rows)} pictures; ask for fewer")
    drawn = [uniforms(seed, "rank-teachers count", name)[0] for name in items.names]
    items.keep(items.rows[np.sort(np.argsort(drawn, kind="stable")[:count])].tolist())


def _require_enough(pictures: int, data: str, neighbours: int) -> None:
    if pictures < LEAST:
        raise UserError(f"{data}: {pictures} pictures can be compared; give {LEAST} or more")
    if neighbours >= pictures:
        raise UserError(f"--neighbours {neighbours}: there are {pictures} pictures; ask for fewer")


def _suite(accuracy: tuple[str, str], teachers: Sequence[Teacher]) -> Evaluation:
    suite, data = accuracy
    found, options = check_suite(EvaluateSpec(suite=suite), "--accuracy", "--accuracy")
    for teacher in teachers:
        if teacher.state.model is None:
            raise UserError(
                f"--accuracy: {teacher.name} is here as a store alone, without weights to measure; leave it out"
            )
    return open_suite(found, data, options)


def _measured(evaluation: Evaluation, teacher: Teacher, items: Items, metric: str | None) -> float:
    model: Any = teacher.state.model
    results = run_suite(model, evaluation, items.device, items.batch_size, items.workers, role=teacher.name)
    model.to("cpu")
    return score_of(results, metric, "--accuracy")[0]
