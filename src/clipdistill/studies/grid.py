"""A StudyGrid: axes over the keys of a recipe, every combination of their levels a cell, every cell under every seed.

A file with `axes`. An axis is either a key with its values, or levels by name, each a list of `key=value`:

    recipe: petri/quickstart
    axes:
      teacher: {key: teachers.0.model, values: [petri-teacher, petri-teacher-small]}
      objective:
        levels:
          features: ["task.weights={fd: 2000}"]
          all: ["task.weights={crd: 1, fd: 2000, icl: 1}"]
    set: ["teachers.0.store=stores/{teacher}"]
    seeds: 3

`{teacher}` in `set`, or in what another axis sets, is the cell's level of that axis; an axis may set nothing and be
there for such names alone (`levels: {"0": [], "1": []}`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from clipdistill.errors import UserError, explain, nearest
from clipdistill.recipe import Strict
from clipdistill.studies.figures import FiguresSpec
from clipdistill.studies.names import folder_name
from clipdistill.studies.resources import Resources
from clipdistill.studies.table import MeasureSpec
from clipdistill.yaml_files import read_yaml

GRIDS = Path(__file__).parent.parent / "grids"
LONGEST = 100
"""Letters of a cell's folder."""


class AxisSpec(Strict):
    """What is varied: a key of the recipe, or levels that set several keys at once."""

    key: str | None = Field(None, description="key of the recipe, such as teachers.0.model")
    values: list[Any] = Field([], description="its values; each is a level, named as it is written")
    levels: dict[str, list[str]] = Field({}, description="name -> key=value, ...; in place of `key` and `values`")

    @model_validator(mode="after")
    def _one_way(self) -> AxisSpec:
        if bool(self.levels) == bool(self.key and self.values) or bool(self.key) != bool(self.values):
            raise ValueError("give `key` and `values`, or `levels`")
        return self

    def named(self) -> dict[str, tuple[str, ...]]:
        """Level -> what it sets.

        Raises:
            UserError: two values that are written alike.
        """
        if self.levels:
            return {name: tuple(said) for name, said in self.levels.items()}
        found: dict[str, tuple[str, ...]] = {}
        for value in self.values:
            text = value if isinstance(value, str) else json.dumps(value)
            if text in found:
                raise UserError(f"`{self.key}`: {text} is there twice")
            found[text] = (f"{self.key}={text}",)
        return found


class StudyGrid(Strict):
    """Axes over one recipe."""

    title: str = ""
    about: str = ""
    recipe: str
    set: list[str] = Field(
        [], description="key=value for every cell; {AXIS} stands for the cell's level, here and in what axes set"
    )
    axes: dict[str, AxisSpec] = Field(min_length=1)
    without: list[dict[str, str]] = Field(
        [], description="cells that aren't run: axis -> level, or a pattern of levels"
    )
    seeds: int = Field(3, ge=1)
    measures: dict[str, MeasureSpec] = Field({}, description="what the report reads of a cell; none = every metric")
    resources: Resources = Field(Resources(), description="what each run asks of a cluster (`study --engine`)")
    figures: FiguresSpec = FiguresSpec()
    paper: str | None = Field(None, description="whose printed numbers are shown below, such as kd_for_vlms")


@dataclass(frozen=True)
class GridCell:
    """One combination. levels: axis -> level, in the file's order."""

    levels: tuple[tuple[str, str], ...]
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """`teacher=petri-teacher, student=vit`."""
        return ", ".join(f"{axis}={level}" for axis, level in self.levels)

    @property
    def folder(self) -> str:
        """Its folder in the study, named by its levels."""
        return folder_name("+".join(f"{axis}={level}" for axis, level in self.levels), LONGEST)


def grid_names() -> list[str]:
    """Names of the grids that come with the package, such as `petri/kd_for_vlms/teachers`."""
    return sorted(path.relative_to(GRIDS).with_suffix("").as_posix() for path in GRIDS.rglob("*.yaml"))


def is_grid(name: str) -> bool:
    """Whether a grid has that name, or a file is one: it has `axes`."""
    if not name.endswith((".yaml", ".yml")):
        return name in grid_names()
    path = Path(name)
    if not path.is_file():
        return False
    values = read_yaml(path)
    return isinstance(values, dict) and "axes" in values


def load_grid(path: str | Path) -> StudyGrid:
    """Read a grid by name or path.

    Raises:
        UserError: no such file, an unknown key (with the nearest), an axis of no use, a level that isn't there.
    """
    name = str(path)
    file = Path(name) if name.endswith((".yaml", ".yml")) else GRIDS / f"{name}.yaml"
    if not file.is_file():
        near = nearest(name, grid_names())
        raise UserError(f"{name}: no such grid, nor file; a grid is a YAML file with `recipe` and `axes`.{near}")
    try:
        grid = StudyGrid.model_validate(read_yaml(file))
        levels = {axis: spec.named() for axis, spec in grid.axes.items()}
        for number, each in enumerate(grid.without):
            require_levels(levels, each, f"`without.{number}`")
        grid.figures.check(grid)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, StudyGrid)}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return grid


def grid_cells(grid: StudyGrid, overrides: Sequence[str] = (), only: Sequence[str] = ()) -> Iterator[GridCell]:
    """Every combination that isn't left out; the last axis runs fastest.

    Args:
        overrides: `key=value` for every cell; what an axis sets stands above it.
        only: `axis=level` (or a pattern of levels), the combinations that are wanted; of one axis any of them.

    Raises:
        UserError: `only` names an axis or a level that isn't there, or nothing is left.
    """
    levels = {axis: spec.named() for axis, spec in grid.axes.items()}
    wanted: dict[str, list[str]] = {}
    for one in only:
        axis, equals, level = one.partition("=")
        if not equals:
            raise UserError(f"--only {one}: say AXIS=LEVEL; the axes are {', '.join(levels)}")
        require_levels(levels, {axis: level}, f"--only {one}")
        wanted.setdefault(axis, []).append(level)
    found = 0
    for combination in itertools.product(*levels.values()):
        chosen = dict(zip(levels, combination, strict=True))
        if any(_fits(chosen, each) for each in grid.without):
            continue
        if not all(any(fnmatchcase(chosen[axis], one) for one in some) for axis, some in wanted.items()):
            continue
        found += 1
        of_axes = [one for axis, level in chosen.items() for one in levels[axis][level]]
        said = [_with_levels(one, chosen) for one in (*grid.set, *overrides, *of_axes)]
        last = {one.partition("=")[0]: one for one in said}
        yield GridCell(tuple(chosen.items()), tuple(last.values()))
    if not found:
        raise UserError("no cell is left; look at `without` and --only")


def require_levels(levels: Mapping[str, Mapping[str, Any]], named: Mapping[str, str], where: str) -> None:
    """Raise a UserError for an axis, or a (pattern of a) level, that isn't there."""
    for axis, level in named.items():
        if axis not in levels:
            raise UserError(f"{where}: no axis '{axis}'; there are {', '.join(levels)}")
        if not any(fnmatchcase(one, level) for one in levels[axis]):
            raise UserError(f"{where}: axis {axis} has no level '{level}'; there are {', '.join(levels[axis])}")


def _with_levels(text: str, chosen: Mapping[str, str]) -> str:
    for axis, level in chosen.items():
        text = text.replace(f"{{{axis}}}", folder_name(level, LONGEST))
    return text


def _fits(chosen: Mapping[str, str], pattern: Mapping[str, str]) -> bool:
    return all(fnmatchcase(chosen[axis], level) for axis, level in pattern.items())
