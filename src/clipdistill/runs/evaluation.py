"""Evaluation: a model by name on a suite, and the models of a run on the recipe's suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError
from clipdistill.evaluate import Result, retrieval_examples
from clipdistill.evaluate.speed import batch_of, side_by_side
from clipdistill.evaluate.suites import (
    Evaluation,
    RegionsOf,
    Suite,
    SuiteOptions,
    find_suite,
    open_suite,
    refusal,
    unread,
)
from clipdistill.files import require_writable, write_json
from clipdistill.kinds import kind_of, open_trained, require_weights
from clipdistill.recipe import EvaluateSpec, Recipe
from clipdistill.report.tables import is_plain
from clipdistill.runs.data import source_spec
from clipdistill.runs.evaluation_regions import regions_of
from clipdistill.runs.measured import Measured


def evaluate_model(
    model: str | Path,
    suite: str,
    data: str | Path | Mapping[str, Any],
    *,
    batch_size: int = 128,
    workers: int = 1,
    options: Mapping[str, Any] | None = None,
    json_path: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a model and return (and write, with `json_path`) its results and cost.

    Args:
        model: an open_clip name (`ViT-B-32:openai`), `hf-hub:` name, local open_clip or transformers folder, or a RUN.
        suite: one of `SUITES`.
        data: a path whose format is guessed, `format:path@split`, or a source spec.
        options: the suite's own.

    Raises:
        UserError: unknown model, suite or option, an option that this model has no use for, missing weights or data,
            an unwritable `json_path`.
    """
    found, read = check_suite(EvaluateSpec(suite=suite, **dict(options or {})), "--suite", "--option")
    if json_path is not None:
        if json_path.is_dir():
            raise UserError(f"--json {json_path}: is a folder; give a file")
        require_writable(json_path, "--json")  # now rather than after the work
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    require_weights(str(model))
    encoder = open_trained(model, device)
    if why := refusal(found, encoder.KIND):
        raise UserError(f"--suite: {why}")
    if why := unread(found, read, encoder.KIND):
        raise UserError(f"--option: {why}")
    regions = regions_of(model, device)
    results = run_suite(encoder, open_suite(found, data, read), device, batch_size, workers, regions=regions)
    report = model_report(encoder, str(model), results, device)
    if json_path is not None:
        write_json(json_path, report)
    return report


def run_suite(
    model: Any, evaluation: Evaluation, device: torch.device, batch_size: int, workers: int,
    role: str | None = None, regions: RegionsOf | None = None, teachers: Mapping[str, Any] | None = None,
) -> list[Result]:  # fmt: skip
    """Run one suite, whose data is open, on one model with a progress bar.

    role: of the model, among several. regions: see `evaluation_regions.EvaluationRegions`. teachers: by role.
    """
    meters: dict[str, Meter] = {}
    label = "" if role is None else f"{role}, "

    def progress(what: str, done: int, total: int) -> None:
        meter = meters.setdefault(what, Meter(f"{label}{evaluation.suite.NAME}: {what}", total))
        meter.advance(done - meter.done)
        if done >= total:
            meters.pop(what).__exit__()

    try:
        return evaluation.run(
            model, device=device, batch_size=batch_size, workers=workers, progress=progress, role=role,
            regions=regions, teachers=teachers,
        )  # fmt: skip
    finally:
        for meter in meters.values():
            meter.__exit__()


def model_report(
    model: Any, name: str, results: list[Result], device: torch.device, speed: bool = True
) -> dict[str, Any]:
    """What evaluation.json holds of one model; `speed`: timed by itself."""
    cost = kind_of(model).cost(model, device, speed=speed)
    return {"name": name, **cost, "results": [result.to_dict() for result in results]}


def evaluate_models(
    evaluations: Sequence[Evaluation], models: Mapping[str, tuple[str, Any]], device: torch.device, workers: int = 0,
    regions: RegionsOf | None = None, teachers: Mapping[str, Any] | None = None, timed: bool = True,
    kept: Mapping[str, Measured] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Put several models through suites whose data is open; a suite that doesn't take a model's kind says so.

    Args:
        evaluations: what `open_evaluations` gave.
        models: role -> (name, model).
        workers: processes that decode pictures. regions: what opens those of a source's pictures.
        teachers: by role, whom the models learned from; None = those of `models` whose role says so.
        timed: time the models side by side too.
        kept: by role, where the results of models that don't change are kept.

    Returns:
        The content of evaluation.json.
    """
    if teachers is None:
        teachers = teachers_among(models)
    found: dict[str, Any] = {}
    for role, (name, model) in models.items():
        model.to(device)
        results: list[Result] = []
        for evaluation in evaluations:
            if why := evaluation.left_out(model, teachers):
                print(f"{role}: left out of {evaluation.suite.NAME}: {why}")
                continue
            measure = partial(run_suite, model, evaluation, device, 128, workers, role, regions, teachers)
            results += kept[role].results(evaluation, measure) if kept and role in kept else measure()
        found[role] = model_report(model, name, results, device, speed=False)
    if timed:
        for role, speed in speeds({role: model for role, (_, model) in models.items()}, device).items():
            found[role] |= speed
    return {"models": found}


def speeds(models: Mapping[str, Any], device: torch.device) -> dict[str, dict[str, Any]]:
    """By role, `images_per_second` and its rounds, of the models that can be timed: side by side, on one batch."""
    pictures = batch_of(device)
    steps = {role: (model, kind_of(model).step(model, device, pictures)) for role, model in models.items()}
    timed = {role: (model, step) for role, (model, step) in steps.items() if step is not None}
    return side_by_side(timed, device, pictures)


def teachers_among(models: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """The teachers of a run's models: "teacher", or "teacher 1", "teacher 2", ..."""
    return {role: model for role, (_, model) in models.items() if role.split(" ")[0] == "teacher"}


def say_unread(evaluations: Sequence[Evaluation], models: Mapping[str, tuple[str, Any]]) -> None:
    """Print which options of a recipe's suites none of its models has a use for."""
    for evaluation in evaluations:
        idle = [unread(evaluation.suite, evaluation.options, model.KIND) for _, model in models.values()]
        if idle and all(idle):
            print(f"evaluation: {idle[0]}")


def suite_data(recipe: Recipe, spec: EvaluateSpec, index: int) -> Any:
    """Where a suite of a recipe finds its data: as said, or the recipe's petri world."""
    if spec.data is None:
        if recipe.petri is None:
            raise UserError(f"`evaluate.{index}.data`: say on which data, such as {{format: karpathy, path: ...}}")
        return str(recipe.petri.path)
    if isinstance(spec.data, str):
        return spec.data
    count = {} if spec.data.count is None else {"count": spec.data.count}
    return {**source_spec(spec.data), **count}


def check_suites(recipe: Recipe) -> None:
    """Check the suites of a recipe and their options, before any data is opened; UserError when one is wrong."""
    for index, spec in enumerate(recipe.evaluate):
        check_suite(spec, f"`evaluate.{index}.suite`", f"`evaluate.{index}`")


def check_suite(spec: EvaluateSpec, suite_field: str, option_field: str) -> tuple[Suite[Any, Any], SuiteOptions]:
    """The suite that is named, and its options, validated.

    Raises:
        UserError: no such suite, or an option that it doesn't have or that can't be used; the fields begin the line.
    """
    suite = find_suite(spec.suite, suite_field)
    return suite, suite.read_options(spec.options(), option_field)


def open_evaluations(recipe: Recipe) -> list[Evaluation]:
    """Open the data of a recipe's suites, once for the check before the training and for every model after it.

    Raises:
        UserError: a wrong suite or option, data that can't be opened or isn't what its suite needs.
    """
    found = []
    for index, spec in enumerate(recipe.evaluate):
        suite, options = check_suite(spec, f"`evaluate.{index}.suite`", f"`evaluate.{index}`")
        data = suite_data(recipe, spec, index)
        try:
            found.append(open_suite(suite, data, options))
        except UserError as error:
            raise UserError(f"`evaluate.{index}.data`: {error}") from error
    return found


def run_examples(
    evaluations: Sequence[Evaluation], models: Mapping[str, tuple[str, Any]], device: torch.device, workers: int = 0
) -> dict[str, Any] | None:
    """Ten retrieval examples on the first evaluation that has captions, of the models that it takes.

    None when there is no such evaluation, or no such model.
    """
    for evaluation in evaluations:
        if evaluation.examples is not None:
            shown = {
                role: model for role, (_, model) in models.items() if refusal(evaluation.suite, model.KIND) is None
            }
            if not shown:
                return None
            return retrieval_examples(shown, evaluation.examples, seed=0, device=device, workers=workers)
    return None


def show_results(report: Mapping[str, Any]) -> None:
    """Print what `evaluate` found: a row a metric, with the data it was measured on; rates in per cent."""
    table = Table(title=f"{report['name']}: {int(report['parameters']):,} parameters", title_justify="left")
    for column in ("suite", "data", "n", "metric", "value"):
        table.add_column(column, justify="right" if column in ("n", "value") else "left")
    for result in report["results"]:
        for metric, value in result["metrics"].items():
            table.add_row(result["evaluator"], result["data"], str(result["n"]), metric, _shown(metric, value))
    Console().print(table)


def _shown(metric: str, value: float) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".") if is_plain(metric) else f"{100 * value:.2f} %"
