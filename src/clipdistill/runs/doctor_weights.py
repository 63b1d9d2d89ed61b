"""Weights that recipes name: which are on this machine, and how to get the others without going in a circle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipdistill.models.hub import in_hub_cache
from clipdistill.recipe import ModelSpec, Recipe
from clipdistill.runs.where_to_get import where_to_get


def weights(recipes: list[Recipe]) -> list[dict[str, Any]]:
    """`{"name", "found", "recipes", "get"}` of the weights that recipes name.

    What a run of ours makes is got by its recipe, and what that recipe needs first is named beside it. A recipe isn't
    the maker of what it starts from.
    """
    from clipdistill.models.named import list_models, our_models

    counts: dict[str, int] = {}
    makers: dict[str, str] = {}
    needs: dict[str, set[str]] = {}
    known, ours = set(list_models()), set(our_models())
    for recipe in sorted(recipes, key=lambda each: (len(each.name), each.name)):
        names = {name for spec in (recipe.student, *recipe.teachers) for name in _needed(spec)}
        names |= {spec.model for spec in recipe.teachers if spec.model and _is_plain(spec.model)}
        needs[recipe.name] = names
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        if not recipe.teachers and recipe.student.model and _is_plain(recipe.student.model):
            makers.setdefault(recipe.student.model, recipe.name)
            if recipe.student.model == recipe.name.replace("/", "-").replace("_", "-"):
                makers[recipe.student.model] = recipe.name  # its own recipe, and not one that extends it
        makers[f"runs/{recipe.name}"] = recipe.name
    looked = {name: _look_for(name, known, ours, makers) for name in sorted(counts)}
    return [
        {
            "name": name,
            "found": found,
            "recipes": counts[name],
            "get": None if found else get + _first(needs.get(makers.get(name, ""), set()) - {name}, looked),
        }
        for name, (found, get) in looked.items()
    ]


def _is_plain(model: str) -> bool:
    """Whether that is the name of a model that comes with the package, not a file, folder or name on the hub."""
    return ":" not in model and "/" not in model


def _first(names: set[str], looked: dict[str, tuple[str | None, str]]) -> str:
    """What the recipe that makes something needs and isn't there either."""
    missing = sorted(name for name in names if looked[name][0] is None)
    return f" (it needs {', '.join(missing)} first)" if missing else ""


def _needed(spec: ModelSpec) -> Iterator[str]:
    """Names and paths of weights that a model spec can't do without; a plain name of a student has random ones."""
    from clipdistill.models.fusion.starting import split_name
    from clipdistill.models.vlm_names import is_put_together, weights_of

    if spec.model is not None and is_put_together(spec.model):
        yield from weights_of(spec.model)
        return
    if spec.model is not None and ".json:" in spec.model:  # a size of one's own, and what fills it
        size, _, filled_by = spec.model.partition(".json:")
        yield from (f"{size}.json", filled_by)
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
    if name in ours or (name in makers and _is_plain(name)):
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
    return in_hub_cache(repository, *files), f"hf download {repository}"


def _pretrained(model: str, tag: str) -> tuple[str | None, str]:
    import open_clip
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    entry = open_clip.get_pretrained_cfg(model, tag)
    repository, _, file = str(entry.get("hf_hub") or "").rpartition("/")
    if repository:
        files = (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        return in_hub_cache(repository, *files), f"hf download {repository}"
    url = str(entry.get("url") or "")
    local = Path("~/.cache/clip").expanduser() / os.path.basename(url)
    return (str(local) if url and local.is_file() else None), f"download {url} into ~/.cache/clip"
