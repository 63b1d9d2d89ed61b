"""`clipdistill doctor`: what is installed and found on this machine, and how to get what isn't. Nothing is fetched."""

from __future__ import annotations

import glob
import os
import platform
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from clipdistill.recipe import Recipe, SourceSpec
from clipdistill.recipe_files import load_recipe, recipe_names
from clipdistill.runs.doctor_tables import print_findings
from clipdistill.runs.doctor_weights import weights as _weights
from clipdistill.runs.folder import PACKAGES, installed
from clipdistill.runs.where_to_get import where_to_get

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def doctor(show: bool = True) -> dict[str, Any]:
    """Look this machine over. Never raises: what can't be found out is reported as `{"error": reason}`.

    Args:
        show: print it as tables too.

    Returns:
        `python`, `packages` (name -> version or None), `extras` (extra -> package -> version or None),
        `accelerators`, `offline` (variable -> value or None), `caches` (what -> folder), and `weights` and `data`:
        lists of `{"name", "found" (where, or None), "recipes" (how many name it), "get" (page or command)}`.
    """
    recipes = _safely(_recipes)
    known = recipes if isinstance(recipes, list) else []
    found = {
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
        "extras": _safely(_extras),
        "accelerators": _safely(_accelerators),
        "offline": {name: os.environ.get(name) for name in OFFLINE},
        "caches": _safely(_caches),
        "weights": _safely(lambda: _weights(known)),
        "data": _safely(lambda: _data(known)),
    }
    if show:
        print_findings(found)
    return found


def _safely(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except Exception as error:  # a broken library is what this command is there to show
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def _recipes() -> list[Recipe]:
    found = []
    for name in recipe_names():
        try:
            found.append(load_recipe(name))
        except Exception:  # a recipe that doesn't load names nothing that could be looked for
            continue
    return found


def _extras() -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    try:
        lines = requires("clipdistill") or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        package = re.match(r"[\w.-]+", line)
        if extra and package:
            found.setdefault(extra.group(1), {})[package.group()] = installed(package.group())
    return found


def _accelerators() -> dict[str, Any]:
    import torch

    cuda = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    own_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public question for it yet
    return {
        "cuda": cuda,
        "mps": torch.backends.mps.is_available(),
        "cpu_threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "bf16": bool(cuda and torch.cuda.is_bf16_supported()) or bool(own_bf16 and own_bf16()),
    }


def _caches() -> dict[str, str]:
    from huggingface_hub import constants

    return {"hub": str(constants.HF_HUB_CACHE), "clip": str(Path("~/.cache/clip").expanduser())}


def _data(recipes: list[Recipe]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for recipe in recipes:
        if recipe.petri is not None:
            continue  # written by the run itself
        sources = [*recipe.data.train, *(item.data for item in recipe.evaluate)]
        paths = {path for source in sources for path in _paths(source)}
        for path in paths:
            counts[path] = counts.get(path, 0) + 1
    return [
        {"name": path, "found": found, "recipes": count, "get": None if found else where_to_get(path)}
        for path, count in sorted(counts.items())
        for found in [_on_disk(path)]
    ] + [_wordnet()]


def _wordnet() -> dict[str, Any]:
    from clipdistill.data.wordnet import GET, find_wordnet

    found = find_wordnet()
    get = None if found else f"for `clipdistill mitigate em`: {GET}"
    return {"name": "WordNet", "found": None if found is None else str(found), "recipes": 0, "get": get}


def _paths(source: SourceSpec | str | None) -> list[str]:
    if source is None:
        return []
    if isinstance(source, str):
        return [source.split("@")[0].split(":", 1)[-1]]
    return [source.path] if isinstance(source.path, str) else list(source.path or ())


def _on_disk(path: str) -> str | None:
    """The path when anything is there: a file, a folder, or the first of a brace expansion or glob."""
    from braceexpand import braceexpand

    first = os.path.expandvars(os.path.expanduser(next(iter(braceexpand(path)), path)))
    return path if os.path.exists(first) or glob.glob(first) else None
