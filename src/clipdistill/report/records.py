"""Reading RUN folders: whatever a run has left so far, and nothing that it hasn't."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from clipdistill.errors import UserError
from clipdistill.evaluate.results import Result
from clipdistill.yaml_files import parse_yaml

COSTS = ("parameters", "image_parameters", "text_parameters", "flops_per_pair", "images_per_second")


@dataclass(frozen=True)
class ModelRecord:
    """A model of a run as it was measured: its name, what it costs, its results.

    speed: the rounds in which it was timed beside the run's other models (`evaluate.speed`); empty where it wasn't.
    """

    name: str
    costs: dict[str, float]
    results: list[Result]
    speed: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """What a RUN folder holds.

    Attributes:
        models: by role: "teacher", "base", "control", "student"; the control may come from the folder's `control/`.
        metrics: lines of metrics.jsonl by step, a resumed run's repeated steps counted once.
        control_metrics: the same of `control/`.
        bad: lines of bad_samples.jsonl.
        examples: examples.json, with the control's outcomes merged in; None where there is none.
        epochs: what was measured of the student of each epoch that was kept.
    """

    path: Path
    name: str
    recipe: dict[str, Any]
    environment: dict[str, Any]
    models: dict[str, ModelRecord] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    control_metrics: list[dict[str, Any]] = field(default_factory=list)
    bad: list[dict[str, Any]] = field(default_factory=list)
    examples: dict[str, Any] | None = None
    epochs: dict[int, list[Result]] = field(default_factory=dict)

    @property
    def seed(self) -> Any:
        return self.recipe.get("seed")


def read_run(path: str | Path) -> RunRecord:
    """Read one RUN folder.

    Raises:
        UserError: not a folder, not a run (neither recipe.yaml nor evaluation.json), or a file that can't be parsed.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; give the --out folder of a `clipdistill train`")
    if not (folder / "recipe.yaml").is_file() and not (folder / "evaluation.json").is_file():
        raise UserError(f"{folder}: not a run, it holds neither recipe.yaml nor evaluation.json")
    recipe = _yaml(folder / "recipe.yaml")
    models = _models(folder / "evaluation.json")
    examples = _json(folder / "examples.json")
    control = folder / "control"
    control_model = _models(control / "evaluation.json").get("student")
    if control_model and "control" not in models:
        models["control"] = control_model
    control_metrics = read_metrics(control / "metrics.jsonl")
    return RunRecord(
        path=folder,
        name=str(recipe.get("name") or folder.resolve().name),
        recipe=recipe,
        environment=_json(folder / "environment.json") or {},
        models=models,
        metrics=read_metrics(folder / "metrics.jsonl"),
        control_metrics=control_metrics,
        bad=_lines(folder / "bad_samples.jsonl"),
        examples=_merge(examples, _json(control / "examples.json")),
        epochs={
            int(number): found.results
            for number, found in _models(folder / "evaluation.json", "epochs").items()
            if number.isdecimal()
        },
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl in order of step; of a step that comes twice, the later line counts."""
    return [
        line
        for _, line in sorted(
            {line["step"]: line for line in _lines(path) if isinstance(line.get("step"), int)}.items()
        )
    ]


def loss_terms(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The terms of a loss as metrics.jsonl names them ("loss/crd"), in the order they were logged; "loss" for none."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name.startswith("loss/") and name != "loss/total"] or [
        name for name in names if name == "loss"
    ]


def _models(path: Path, key: str = "models") -> dict[str, ModelRecord]:
    found, models = (_json(path) or {}).get(key, {}), dict[str, ModelRecord]()
    if not isinstance(found, dict):
        raise UserError(f"{path}: `{key}` must hold an object; evaluate the run again")
    for role, value in found.items():
        try:
            results = [Result.from_dict(result) for result in value.get("results", ())]
            speed = dict(value.get("speed") or {})
            known = [key for key in COSTS if speed or key != "images_per_second"]  # timed alone says little
            costs = {key: float(value[key]) for key in known if value.get(key) is not None}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: {key}.{role} can't be understood ({error!r}); evaluate the run again") from error
        models[str(role)] = ModelRecord(str(value.get("name", role)), costs, results, speed)
    return models


def _merge(examples: dict[str, Any] | None, control: dict[str, Any] | None) -> dict[str, Any] | None:
    """Add the control's outcomes, which its own run stored as its student's, to the same questions."""
    if not examples or not control:
        return examples
    outcomes = {(query["caption"], query["answer"]): query["models"] for query in control.get("queries", ())}
    for query in examples.get("queries", ()):
        found = outcomes.get((query["caption"], query["answer"]), {}).get("student")
        if found:
            query["models"].setdefault("control", found)
    examples["pictures"] = {**control.get("pictures", {}), **examples.get("pictures", {})}
    return examples


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold a JSON object")
    return content


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read as YAML ({' '.join(str(error).split())})") from error
    return content if isinstance(content, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file; a last line cut short by a kill is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
