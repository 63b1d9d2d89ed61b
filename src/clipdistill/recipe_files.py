"""Recipes as files: found by name or path, `extends`, `key=value` overrides, and errors in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from clipdistill.errors import UserError, explain, nearest
from clipdistill.recipe import Recipe, TaskSpec
from clipdistill.yaml_files import parse_yaml, read_yaml

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package, such as `petri/clip_kd`."""
    found = (path.relative_to(RECIPES).with_suffix("") for path in RECIPES.rglob("*.yaml"))
    return sorted(name.as_posix() for name in found if not name.name.startswith("_"))


def is_recipe(name: str) -> bool:
    """Whether a recipe has that name; of a file, whether it would be taken for one."""
    return name.endswith((".yaml", ".yml")) or (RECIPES / f"{name}.yaml").is_file()


def recipe_of_run(path: str) -> str | None:
    """The recipe that comes with the package and whose run a recipe or table looks for at `path`, as in runs/NAME."""
    name = path.removeprefix("runs/")
    return name if name != path and (RECIPES / f"{name}.yaml").is_file() else None


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path, apply `key=value` overrides, validate.

    Args:
        name: a name that `recipe_names` lists, or the path of a YAML file. A recipe may say `extends: NAME`, another
            recipe beside it or by name, whose keys it then overrides (mappings merge, lists replace). Another
            `task.method` takes nothing of the parent's `task` and `stages`, and a parent's `paper` holds for what it is
            about alone (docs/recipes.md).
        overrides: `train.lr=3e-4`, `data.train.0.count=100`; the value is YAML. In whichever order they are given, a
            whole (`task={...}`) comes before its parts, and a method before its weights and options.

    Raises:
        UserError: unknown recipe or key (with the nearest valid one), wrong type, or broken YAML.
    """
    path = _find(str(name))
    values = _read(path, seen=())
    changed = deepcopy(values)
    for override in sorted(overrides, key=_order):
        _override(changed, override)
    said = {override.partition("=")[0].partition(".")[0] for override in overrides}
    return validate(_without_strange_keys(values, changed, said), str(name))


def validate(values: Mapping[str, Any], where: str) -> Recipe:
    """Turn plain values into a Recipe; `where` names their file in errors."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, Recipe)}") from error


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UserError(
                f"{name}: no such recipe file; `clipdistill recipes` lists the ones that come with the package"
            )
        return path
    path = RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"{name}: no recipe of that name.{nearest(name, recipe_names())} `clipdistill recipes` lists them"
        )
    return path


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        raise UserError(f"{path}: `extends` goes in a circle")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values; see `clipdistill recipes NAME` for one")
    parent = values.pop("extends", None)
    if parent is None:
        return values
    beside = path.parent / f"{parent}.yaml"
    try:
        base = beside if beside.is_file() else _find(str(parent))
    except UserError as error:
        raise UserError(f"{path}: `extends`: {error}") from error
    below = _read(base, (*seen, path))
    return _without_strange_keys(below, merge(below, values), set(values))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over`: mappings merge, whatever else replaces, as does a task of another method."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        # Weights are one choice: adding to a parent's would leave terms on that the child never names. And one method's
        # weights and options mean nothing to another, or something else.
        merged[key] = value
        if isinstance(old, dict) and isinstance(value, dict) and key != "weights":
            other = key == "task" and value.get("method", _method(old)) != _method(old)
            merged[key] = value if other else merge(old, value)
    return merged


def _method(task: Mapping[str, Any]) -> Any:
    return task.get("method", TaskSpec.model_fields["method"].default)


def _without_strange_keys(before: dict[str, Any], after: dict[str, Any], said: set[str]) -> dict[str, Any]:
    """Drop what was said of something else, unless the child or the command line says it itself (`said`).

    `paper`, where its row is about something else now: printed numbers never stand beside another model's. `stages`,
    where the method is another: their weights and options are the old one's.
    """
    found = dict(after)
    if found.get("paper") is not None and "paper" not in said and _subject(before) != _subject(after):
        found["paper"] = None
    tasks = [values.get("task") or {} for values in (before, after)]
    other = all(isinstance(one, dict) for one in tasks) and _method(tasks[0]) != _method(tasks[1])
    if other and "stages" not in said:
        found.pop("stages", None)
    return found


def _subject(values: Mapping[str, Any]) -> list[Any]:
    """What a printed row is about: the student, its teachers, the method and which of its terms are on.

    Not in it is how long and on what was trained, a term's weight, where a teacher is stored or was trained: who turns
    one of these wants to see how far from the paper it leads.
    """
    teachers = values.get("teachers") or []
    students = [_model(values.get("student"))]
    return [students, [_model(one) for one in teachers] if isinstance(teachers, list) else teachers, _terms(values)]


def _model(spec: Any) -> Any:
    if not isinstance(spec, dict):
        return {"model": spec}
    model = {key: value for key, value in spec.items() if key not in ("store", "meta") and value is not None}
    meta = spec.get("meta")
    if isinstance(meta, dict):  # the options of a meta-teacher's task are what it is made of
        task = meta.get("task")
        options = {key: value for key, value in task.items() if key != "weights"} if isinstance(task, dict) else task
        model["meta"] = [options, _terms(meta), meta.get("epoch")]
    return model


def _terms(values: Mapping[str, Any]) -> Any:
    task = values.get("task") or {}
    if not isinstance(task, dict):
        return task
    weights = task.get("weights")
    on = {term for term, weight in weights.items() if weight != 0} if isinstance(weights, dict) else weights
    return [_method(task), on]


def _order(override: str) -> tuple[int, bool]:
    parts = override.partition("=")[0].split(".")
    return len(parts), parts[-2:] != ["task", "method"]


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise UserError(f"{text!r}: an override is written key=value, such as train.lr=3e-4")
    try:
        value = parse_yaml(raw)
    except yaml.YAMLError as error:
        raise UserError(f"{text!r}: the value is not valid YAML") from error
    parts = key.split(".")
    node: Any = values
    for index, part in enumerate(parts[:-1]):
        place: Any = _position(node, part, key) if isinstance(node, list) else part
        child = node[place] if isinstance(node, list) else node.get(place)
        if isinstance(child, str) and (part == "student" or "teachers" in parts[:index]):
            child = {"model": child}
        elif child is None:
            child = {}
        if not isinstance(child, dict | list):
            raise UserError(f"{text!r}: `{'.'.join(parts[: index + 1])}` is {child!r} and has no keys")
        node[place] = child
        node = child
    if parts[-2:] == ["task", "method"] and isinstance(node, dict) and value != _method(node):
        node.clear()
    node[_position(node, parts[-1], key) if isinstance(node, list) else parts[-1]] = value


def _position(items: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise UserError(f"`{key}`: {part!r} is not a position in a list of {len(items)}; count from 0")
    return int(part)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two recipes as plain values; a key that isn't there is none.

    So a recipe of an earlier version, which didn't have it, is the same as one that leaves it at none.
    """
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and _mappings([*a, *b]):
            for place, pair in enumerate(zip(a, b, strict=True)):
                found += differences(*pair, f"{prefix}{key}.{place}.")
        elif a != b:
            found.append(f"{prefix}{key}")
    return found


def answers(found: Any, asked: Mapping[str, Any]) -> bool:
    """Whether what evaluation.json holds is what is asked for now: its `asked` says the same, for all that counts."""
    was = found.get("asked") if isinstance(found, dict) else None
    return isinstance(was, dict) and not differences(was, asked)


def _mappings(values: list[Any]) -> bool:
    """Whether all are mappings, as sources, teachers and stages are."""
    return all(isinstance(each, dict) for each in values)
