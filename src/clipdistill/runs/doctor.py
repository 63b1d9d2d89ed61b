"""`clipdistill doctor`: what is installed and found on this machine, and how to get what isn't. Nothing is fetched."""

from __future__ import annotations

import glob
import os
import platform
import re
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from clipdistill.recipe import ModelSpec, Recipe, SourceSpec
from clipdistill.recipe_files import load_recipe, recipe_names
from clipdistill.runs.doctor_tables import print_findings
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


def _weights(recipes: list[Recipe]) -> list[dict[str, Any]]:
    from clipdistill.models.named import list_models, our_models

    counts: dict[str, int] = {}
    makers: dict[str, str] = {}
    for recipe in recipes:
        names = {name for spec in (recipe.student, *recipe.teachers) for name in _needed(spec)}
        for name in names | {spec.model for spec in recipe.teachers if spec.model}:
            counts[name] = counts.get(name, 0) + 1
        if not recipe.teachers and recipe.student.model:
            makers[recipe.student.model] = recipe.name
        makers[f"runs/{recipe.name}"] = recipe.name
    known, ours = set(list_models()), set(our_models())
    return [
        {"name": name, "found": found, "recipes": count, "get": None if found else get}
        for name, count in sorted(counts.items())
        for found, get in [_look_for(name, known, ours, makers)]
    ]


def _needed(spec: ModelSpec) -> Iterator[str]:
    """Names and paths of weights that a model spec can't do without; a plain name of a student has random ones."""
    from clipdistill.models.fusion.starting import split_name
    from clipdistill.models.vlm_names import is_put_together, weights_of

    if spec.model is not None and is_put_together(spec.model):
        yield from weights_of(spec.model)
        return
    if spec.model is not None:
        needed = split_name(spec.model)[1] or spec.model  # of NAME:FILE the file, of an adapter its CLIP
        if ":" in needed or "/" in needed:
            yield needed
        return
    yield from (str(part) for part in (spec.image_weights, spec.text_tower) if part is not None)


def _look_for(name: str, known: set[str], ours: set[str], makers: dict[str, str]) -> tuple[str | None, str]:
    """(where the weights are or None, how to get them), from the disk alone."""
    from clipdistill.models.named import WEIGHTS_FOLDER

    if (WEIGHTS_FOLDER / name).is_dir():
        return "comes with the package", ""
    if name in ours:
        return (
            None,
            f"clipdistill train {makers.get(name, 'RECIPE')} --out runs/{name}, then teachers.0.model=runs/{name}",
        )
    if Path(name).exists():
        return name, ""
    model, _, tag = name.partition(":")
    if tag and model != "hf-hub" and model.replace("/", "-") in known:
        return _pretrained(model.replace("/", "-"), tag)
    if name in makers:
        return None, f"clipdistill train {makers[name]} --out {name}"
    if "real-data" in name or name.startswith("data/"):
        return None, where_to_get(name)
    repository = name.removeprefix("hf-hub:")
    files = ("open_clip_config.json", "config.json", "model_index.json")  # open_clip's, transformers', diffusers'
    return _in_hub_cache(repository, files), f"hf download {repository}"


def _pretrained(model: str, tag: str) -> tuple[str | None, str]:
    import open_clip
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    entry = open_clip.get_pretrained_cfg(model, tag)
    repository, _, file = str(entry.get("hf_hub") or "").rpartition("/")
    if repository:
        files = (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        return _in_hub_cache(repository, files), f"hf download {repository}"
    url = str(entry.get("url") or "")
    local = Path("~/.cache/clip").expanduser() / os.path.basename(url)
    return (str(local) if url and local.is_file() else None), f"download {url} into ~/.cache/clip"


def _in_hub_cache(repository: str, files: tuple[str, ...]) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        found = try_to_load_from_cache(repository, file)
        if isinstance(found, str):
            return found
    return None


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
