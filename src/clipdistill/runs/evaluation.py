"""Evaluation: a model by name on a suite, and the models of a run on the recipe's suites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from clipdistill.data import open_source
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError, nearest
from clipdistill.evaluate import Result, denoiser_cost, evaluate_suite, is_denoiser, model_cost, retrieval_examples
from clipdistill.evaluate.compositional import read_benchmarks
from clipdistill.evaluate.sources import open_sources
from clipdistill.evaluate.suites import OPTIONS, SUITES
from clipdistill.evaluate.templates import load_class_names, load_templates
from clipdistill.files import require_writable, write_json
from clipdistill.recipe import EvaluateSpec, Recipe
from clipdistill.runs.models import open_trained, require_weights
from clipdistill.runs.wiring import source_spec


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
        suite: `retrieval`, `zero_shot` or `petri`.
        data: a path whose format is guessed, `format:path@split`, or a source spec.

    Raises:
        UserError: unknown model or suite, missing weights or data, an unwritable `json_path`.
    """
    spec = EvaluateSpec(suite=suite, **dict(options or {}))
    check_suite(spec, "--suite", "--option")
    if json_path is not None:
        if json_path.is_dir():
            raise UserError(f"--json {json_path}: is a folder; give a file")
        require_writable(json_path, "--json")  # now rather than after the work
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    require_weights(str(model))
    encoder = open_trained(model, device)
    results = run_suite(encoder, spec, data, device, batch_size, workers)
    report = model_report(encoder, str(model), results, device)
    if json_path is not None:
        write_json(json_path, report)
    return report


def run_suite(
    encoder: Any, spec: EvaluateSpec, data: Any, device: torch.device, batch_size: int, workers: int, label: str = ""
) -> list[Result]:
    """Run one suite with a progress bar."""
    meters: dict[str, Meter] = {}

    def progress(what: str, done: int, total: int) -> None:
        meter = meters.setdefault(what, Meter(f"{label}{spec.suite}: {what}", total))
        meter.advance(done - meter.done)
        if done >= total:
            meters.pop(what).__exit__()

    try:
        return evaluate_suite(
            encoder, spec.suite, data, device=device, batch_size=batch_size, workers=workers,
            options=spec.options(), progress=progress,
        )  # fmt: skip
    finally:
        for meter in meters.values():
            meter.__exit__()


def model_report(encoder: Any, name: str, results: list[Result], device: torch.device) -> dict[str, Any]:
    """What evaluation.json holds of one model."""
    cost = denoiser_cost(encoder) if is_denoiser(encoder) else model_cost(encoder, device=device)
    return {"name": name, **cost, "results": [result.to_dict() for result in results]}


def evaluate_models(recipe: Recipe, models: Mapping[str, tuple[str, Any]], device: torch.device) -> dict[str, Any]:
    """Put several models through the recipe's suites.

    Args:
        models: role -> (name, DualEncoder).

    Returns:
        The content of evaluation.json.
    """
    found: dict[str, Any] = {}
    for role, (name, encoder) in models.items():
        encoder.to(device)
        results: list[Result] = []
        for index, spec in enumerate(recipe.evaluate):
            if is_denoiser(encoder) and spec.suite != "compositional":
                print(f"{role}: a diffusion model has no embeddings, so it isn't put through {spec.suite}")
                continue
            results += run_suite(
                encoder, spec, suite_data(recipe, spec, index), device, 128, recipe.data.workers, f"{role}, "
            )
        found[role] = model_report(encoder, name, results, device)
    return {"models": found}


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
        check_suite(spec, f"`evaluate.{index}.suite`", f"`evaluate.{index}`:")


def check_suite(spec: EvaluateSpec, suite_field: str, option_field: str) -> None:
    """Raise a UserError for an unknown suite or option, or for templates and class names that can't be read."""
    if spec.suite not in SUITES:
        hint = nearest(spec.suite, SUITES)
        raise UserError(f"{suite_field}: no suite {spec.suite!r}.{hint} Suites: {', '.join(SUITES)}.")
    options = spec.options()
    for key in options:
        if key not in OPTIONS:
            raise UserError(f"{option_field} no option {key!r}.{nearest(key, OPTIONS)} Options: {', '.join(OPTIONS)}.")
    try:
        if "templates" in options:
            load_templates(options["templates"])
        for key in ("class_names", "seen_classes"):
            if key in options:
                load_class_names(options[key])
    except UserError as error:
        raise UserError(f"{option_field} {error}") from error
    for key, least, usual in (("chunk", 1, 2048), ("folds", 2, 5), ("samples", 1, 50)):
        value = options.get(key, usual)
        if not isinstance(value, int) or value < least:
            raise UserError(f"{option_field} {key}: {value!r} isn't a number of at least {least}, such as {usual}")
    given = options.get("t_range", (0.0, 1.0))
    ends = [end for end in given if isinstance(end, int | float)] if isinstance(given, list | tuple) else []
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= 1:
        raise UserError(f"{option_field} t_range: {given!r} isn't two shares of the noise levels, such as [0.2, 1]")


def open_evaluation(recipe: Recipe, index: int) -> Any | None:
    """Open the data of a suite: the source with captions that examples are drawn from, or None without captions.

    Raises:
        UserError: the data can't be opened, or isn't what the suite needs.
    """
    spec = recipe.evaluate[index]
    data = suite_data(recipe, spec, index)
    try:
        if spec.suite == "petri":
            return open_petri_test(data)
        if spec.suite == "compositional":
            read_benchmarks(data)
            return None
        sources = list(open_sources(data).values())
        for source in sources:
            if spec.suite == "retrieval" and not any(source[row].captions for row in range(len(source))):
                raise UserError(f"{source.name} has no captions, which retrieval needs; use the suite zero_shot")
            if spec.suite == "zero_shot" and not source.classes:
                raise UserError(f"{source.name} has no classes, which zero_shot needs; use imagefolder or cifar10")
    except UserError as error:
        raise UserError(f"`evaluate.{index}.data`: {error}") from error
    return sources[0] if spec.suite == "retrieval" else None


def open_petri_test(data: Any) -> Any:
    """The test split of a petri world, by its folder."""
    folder = data.get("path") if isinstance(data, Mapping) else data
    if not folder:
        raise UserError("the suite petri needs the world's folder (path: DIR)")
    return open_source(f"karpathy:{Path(str(folder)) / 'dataset_petri.json'}@test")


def run_examples(recipe: Recipe, models: Mapping[str, Any], device: torch.device) -> dict[str, Any] | None:
    """Ten retrieval examples on the first evaluation that has captions; None when there is none."""
    for index in range(len(recipe.evaluate)):
        source = open_evaluation(recipe, index)
        if source is not None:
            return retrieval_examples(models, source, seed=0, device=device, workers=recipe.data.workers)
    return None


def show_results(report: Mapping[str, Any]) -> None:
    """Print what `evaluate` found: a row a metric, with the data it was measured on."""
    table = Table(title=f"{report['name']}: {int(report['parameters']):,} parameters", title_justify="left")
    for column in ("suite", "data", "n", "metric", "value"):
        table.add_column(column, justify="right" if column in ("n", "value") else "left")
    for result in report["results"]:
        for metric, value in result["metrics"].items():
            table.add_row(result["evaluator"], result["data"], str(result["n"]), metric, f"{value:.4f}")
    Console().print(table)
