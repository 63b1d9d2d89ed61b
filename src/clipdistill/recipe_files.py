"""Recipes as files: found by name or path, `extends`, `key=value` overrides, and errors in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from clipdistill.errors import UserError, explain, nearest
from clipdistill.recipe import Recipe

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package, such as `petri/clip_kd`."""
    found = (path.relative_to(RECIPES).with_suffix("") for path in RECIPES.rglob("*.yaml"))
    return sorted(name.as_posix() for name in found if not name.name.startswith("_"))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path, apply `key=value` overrides, validate.

    Args:
        name: a name that `recipe_names` lists, or the path of a YAML file. A recipe may say `extends: NAME`, another
            recipe beside it or by name, whose keys it then overrides (mappings merge, lists replace).
        overrides: `train.lr=3e-4`, `data.train.0.count=100`; the value is YAML.

    Raises:
        UserError: unknown recipe or key (with the nearest valid one), wrong type, or broken YAML.
    """
    path = _find(str(name))
    values = _read(path, seen=())
    for override in overrides:
        _override(values, override)
    return validate(values, str(name))


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
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
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
    return _merge(_read(base, (*seen, path)), values)


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        # Weights are one choice: adding to a parent's would leave terms on that the child never names.
        if isinstance(old, dict) and isinstance(value, dict) and key != "weights":
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise UserError(f"{text!r}: an override is written key=value, such as train.lr=3e-4")
    try:
        value = yaml.safe_load(raw)
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
    node[_position(node, parts[-1], key) if isinstance(node, list) else parts[-1]] = value


def _position(items: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise UserError(f"`{key}`: {part!r} is not a position in a list of {len(items)}; count from 0")
    return int(part)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two recipes as plain values."""
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}")
    return found
