"""Compositional benchmarks: pictures and captions that differ in how the same words or things combine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError, nearest
from clipdistill.evaluate.compositional.aro import aro
from clipdistill.evaluate.compositional.captions import clevr, sugarcrepe
from clipdistill.evaluate.compositional.groups import DualEncoderMatcher, Group, Matcher, Picture
from clipdistill.evaluate.compositional.winoground import winoground
from clipdistill.evaluate.results import Progress, Result

BENCHMARKS: dict[str, Callable[..., Any]] = {
    "winoground": winoground,
    "aro": aro,
    "sugarcrepe": sugarcrepe,
    "clevr": clevr,
}

__all__ = [
    "BENCHMARKS", "DualEncoderMatcher", "Group", "Matcher", "Picture", "benchmark_folders", "evaluate_compositional",
]  # fmt: skip


def evaluate_compositional(
    matcher: Matcher, data: Mapping[str, Any] | str | Path, progress: Progress | None = None
) -> list[Result]:
    """Run the benchmarks of a folder (winoground/, aro/, sugarcrepe/, clevr/) or a mapping benchmark -> folder.

    Raises:
        UserError: none is there, an unknown name, or a benchmark that can't be read.
    """
    results: list[Result] = []
    for name, path in benchmark_folders(data).items():
        found = BENCHMARKS[name](matcher, path, progress)
        results += found if isinstance(found, list) else [found]
    return results


def benchmark_folders(data: Mapping[str, Any] | str | Path) -> dict[str, Path]:
    """The benchmarks that `evaluate_compositional` would run, by name.

    Raises:
        UserError: none is there, an unknown name, or a folder that isn't there.
    """
    if isinstance(data, Mapping) and set(data) <= {"path", "format"} and "path" in data:
        data = data["path"]
    if not isinstance(data, Mapping):
        root = Path(data)
        data = {name: root / name for name in BENCHMARKS if (root / name).is_dir()}
        if not data:
            raise UserError(f"data: {root} holds no benchmark; make one of {', '.join(f'{n}/' for n in BENCHMARKS)}")
    for name, path in data.items():
        if name not in BENCHMARKS:
            raise UserError(
                f"data: '{name}' is no compositional benchmark; there are {', '.join(BENCHMARKS)}."
                f"{nearest(name, BENCHMARKS)}"
            )
        if not Path(path).is_dir():
            raise UserError(f"data: {path} is no folder; give the one that holds the files of '{name}'")
    return {name: Path(path) for name, path in data.items()}
