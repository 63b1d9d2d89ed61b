"""Compositional benchmarks: pictures and captions that differ in how the same words or things combine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError, nearest
from clipdistill.evaluate.compositional.aro import aro, overall
from clipdistill.evaluate.compositional.captions import clevr, sugarcrepe
from clipdistill.evaluate.compositional.groups import (
    DualEncoderMatcher,
    Group,
    Matcher,
    NotFinite,
    Part,
    Picture,
    require_finite,
)
from clipdistill.evaluate.compositional.order import ORDERS
from clipdistill.evaluate.compositional.pictures import check_pictures
from clipdistill.evaluate.compositional.winoground import winoground
from clipdistill.evaluate.results import Progress, Result

BENCHMARKS: dict[str, Callable[[str | Path], list[Part]]] = {
    "winoground": winoground,
    "aro": aro,
    "sugarcrepe": sugarcrepe,
    "clevr": clevr,
}
ORDER_SIGNS = [f"{name}/{file}" for name, official in ORDERS.items() for file in (f"{name}_order.json", official)]
# What tells a benchmark's own folder: a file or folder in it.
SIGNS = {
    "winoground": ("examples.jsonl", "data/examples.jsonl"),
    "aro": ("visual_genome_relation.json", "visual_genome_attribution.json", *ORDER_SIGNS),
    "sugarcrepe": ("swap_obj.json", "data/swap_obj.json"),
    "clevr": ("scenes",),
}

__all__ = ["BENCHMARKS", "DualEncoderMatcher", "Group", "Matcher", "Part", "Picture", "check_parts",
           "evaluate_compositional", "read_benchmarks", "score_parts"]  # fmt: skip


def evaluate_compositional(
    matcher: Matcher, data: Mapping[str, Any] | str | Path, progress: Progress | None = None
) -> list[Result]:
    """Score every benchmark that `data` names; all files are read and all pictures looked at before the first score.

    Args:
        matcher: scores pictures against captions.
        data: see `read_benchmarks`.
        progress: called as `progress(what, done, total)`.

    Raises:
        UserError: no benchmark, one that can't be read, a picture that is missing or broken (an incomplete benchmark
            isn't scored), or a model that gives NaN or infinity.
    """
    parts = read_benchmarks(data)
    return score_parts(matcher, parts, check_parts(parts, progress), progress)


def check_parts(parts: Sequence[Part], progress: Progress | None = None) -> list[int]:
    """Look at the pictures of each part, as `check_pictures` does; how many boxes of each stick out."""
    return [check_pictures(part.groups, part.how, progress) for part in parts]


def score_parts(
    matcher: Matcher, parts: Sequence[Part], past: Sequence[int], progress: Progress | None = None
) -> list[Result]:
    """Score parts whose pictures were looked at; `past` is what `check_parts` found.

    Raises:
        UserError: a model that gives NaN or infinity, with its name, the benchmark and the item.
    """
    results = []
    for part, sticking_out in zip(parts, past, strict=True):
        try:
            scores = matcher.scores(part.groups, progress)
            for group, each in zip(part.groups, scores, strict=True):
                require_finite(each, group)
        except NotFinite as error:
            raise UserError(f"compositional: {part.data}: {matcher.name}: {error}") from None
        metrics, artifacts = part.measure(part.groups, scores)
        if sticking_out:
            artifacts = artifacts | {"boxes_past_the_edge": sticking_out}
        results.append(Result(part.evaluator, part.data, len(part.groups), metrics, artifacts))
    return [*overall(results), *results]


def read_benchmarks(data: Mapping[str, Any] | str | Path) -> list[Part]:
    """Read the annotations of every benchmark that `data` names, without opening a picture.

    Args:
        data: a folder with winoground/, aro/, sugarcrepe/, clevr/ (some of them), one of these folders itself, or a
            mapping benchmark -> folder. `{"path": FOLDER}` is that folder.

    Raises:
        UserError: none is there, an unknown name, or annotations that can't be used.
    """
    if isinstance(data, Mapping) and "path" in data and set(data) <= {"path", "format"}:
        data = data["path"]
    found = _named(data) if isinstance(data, Mapping) else _in_folder(data)
    return [part for name, folder in found.items() for part in BENCHMARKS[name](folder)]


def _named(data: Mapping[str, Any]) -> dict[str, Path]:
    found = {}
    for name, value in data.items():
        if name not in BENCHMARKS:
            raise UserError(
                f"data: '{name}' is no compositional benchmark; there are {', '.join(BENCHMARKS)}."
                f"{nearest(name, BENCHMARKS)}"
            )
        folder = value.get("path") if isinstance(value, Mapping) else value
        if not isinstance(folder, str | Path) or not str(folder):
            raise UserError(f"data: {name}: is {value!r}; give the benchmark's folder, such as {name}: data/{name}")
        found[name] = _folder(folder)
    if not found:
        raise UserError(f"data: names no benchmark; there are {', '.join(BENCHMARKS)}")
    return found


def _in_folder(data: str | Path) -> dict[str, Path]:
    root = _folder(data)
    found = {name: root / name for name in BENCHMARKS if (root / name).is_dir()}
    if not found:
        found = {name: root for name, signs in SIGNS.items() if any((root / sign).exists() for sign in signs)}
    if not found:
        raise UserError(f"data: {root} holds no benchmark; make one of {', '.join(f'{n}/' for n in BENCHMARKS)}")
    return found


def _folder(path: str | Path) -> Path:
    folder = Path(os.path.expandvars(os.path.expanduser(str(path))))
    if not folder.is_dir():
        raise UserError(f"data: {folder}: no such folder; it should hold {', '.join(f'{n}/' for n in BENCHMARKS)}")
    return folder
