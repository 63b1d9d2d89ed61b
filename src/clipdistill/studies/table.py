"""A StudyTable: a table of a paper as something that can be run. Which recipe fills which cell, and what is read of it.

A file of `tables/` (or any YAML file) has `rows`, each trained by a recipe or a model that is measured as it is;
`regimes`, what is set to train on so much data; and `measures`, the numbers that are read of a run's evaluation. A
column is a measure after a regime. Printed numbers stand beside, where `paper` names their table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field, ValidationError

from clipdistill.errors import UserError, explain, nearest
from clipdistill.recipe import Strict
from clipdistill.studies.names import plain
from clipdistill.studies.resources import Resources
from clipdistill.yaml_files import read_yaml

TABLES = Path(__file__).parent.parent / "tables"
Place = tuple[str, str, str]
"""Of a number: row, measure, regime."""


class MeasureSpec(Strict):
    """A number of a run's evaluation: of the data set that it calls `data`, by `suite`."""

    label: str
    suite: str
    data: str
    metric: str
    paper: str | None = Field(None, description="what the paper's table calls the data set; none = not printed")
    regimes: list[str] | None = Field(None, description="those that it is read after; none = all")


class RegimeSpec(Strict):
    """How much data is trained on."""

    label: str
    set: list[str] = Field([], description="key=value for the recipes")
    paper: str = Field("", description="what stands behind @ in the names of the paper's data sets; empty = nothing")
    trains: bool = Field(True, description="false: only rows with `model` have numbers in it")


class RowSpec(Strict):
    """One row. With `model`, that model is measured on what the recipe evaluates, and nothing is trained."""

    label: str
    group: str = ""
    recipe: str
    set: list[str] = Field([], description="key=value for the recipe")
    model: str | None = None
    paper: str | None = Field(None, description="key of the printed row, or TABLE/ROW; none = not printed")
    against: str | None = Field(None, description="row whose numbers are taken off this one's, seed by seed")
    regimes: list[str] | None = Field(
        None, description="those that the row has; none = all, or with `model` those that don't train"
    )


class StudyTable(Strict):
    """Rows by regimes and measures."""

    title: str
    about: str = ""
    paper: str | None = Field(None, description="printed numbers: PAPER/TABLE")
    seeds: int = Field(3, ge=1)
    set: list[str] = Field([], description="key=value for every recipe")
    rows: dict[str, RowSpec] = Field(min_length=1)
    regimes: dict[str, RegimeSpec] = Field(min_length=1)
    measures: dict[str, MeasureSpec] = Field(min_length=1)
    resources: Resources = Field(Resources(), description="what each run asks of a cluster (`study --engine`)")

    def check_names(self) -> None:
        """Raise a UserError when a row or a measure names a regime or a row that isn't there."""
        named = {**{k: one.regimes for k, one in self.rows.items()}, **{k: m.regimes for k, m in self.measures.items()}}
        for where, wanted in named.items():
            for one in wanted or ():
                if one not in self.regimes:
                    raise UserError(f"{where}: no regime '{one}'; there are {', '.join(self.regimes)}")
        for name, row in self.rows.items():
            if row.against is not None and row.against not in self.rows:
                raise UserError(f"{name}: `against`: no row '{row.against}'.{nearest(row.against, self.rows)}")

    def has(self, row: str, regime: str) -> bool:
        """Whether something is run for a row in a regime."""
        spec, how = self.rows[row], self.regimes[regime]
        if spec.model is None:
            return how.trains and (spec.regimes is None or regime in spec.regimes)
        return regime in spec.regimes if spec.regimes is not None else not how.trains

    def columns(self) -> list[tuple[str, str]]:
        """(measure, regime), measure by measure."""
        return [
            (measure, regime)
            for measure, spec in self.measures.items()
            for regime in self.regimes
            if spec.regimes is None or regime in spec.regimes
        ]

    def printed_as(self, measure: str, regime: str) -> tuple[str, str] | None:
        """Data set and metric of a column in the paper's table."""
        spec, behind = self.measures[measure], self.regimes[regime].paper
        return None if spec.paper is None else (f"{spec.paper}@{behind}" if behind else spec.paper, spec.metric)


@dataclass(frozen=True)
class Cell:
    """What is run for a row in a regime, but for the seed. Equal cells of several tables are one run.

    overrides: of the table, the regime, the row and the command, of each key the last that is said, by key.
    """

    recipe: str
    overrides: tuple[str, ...]
    model: str | None = None

    def variant(self) -> str:
        """A folder's name for the overrides, the same in whatever order they are said; empty without any."""
        said = [*self.overrides, *([f"model={self.model}"] if self.model else [])]
        if not said:
            return ""
        digest = hashlib.sha256("\n".join(said).encode()).hexdigest()[:8]
        words = "+".join(one.partition("=")[0].rpartition(".")[2] + "=" + one.partition("=")[2] for one in said)
        return f"{plain(words)[:48]}-{digest}"


def cells(table: StudyTable, overrides: Sequence[str] = ()) -> Iterator[tuple[str, str, Cell]]:
    """(row, regime, cell) of everything that a table runs."""
    for name, row in table.rows.items():
        for regime, how in table.regimes.items():
            if table.has(name, regime):
                said = [*table.set, *how.set, *row.set, *overrides]
                last = {one.partition("=")[0]: one for one in said}
                yield name, regime, Cell(row.recipe, tuple(last[key] for key in sorted(last)), row.model)


def table_names() -> list[str]:
    """Names of the tables that come with the package, such as `petri/clip_td/table1`."""
    return sorted(path.relative_to(TABLES).with_suffix("").as_posix() for path in TABLES.rglob("*.yaml"))


def is_table(name: str) -> bool:
    """Whether a name, or a pattern of names, is of tables, or a file is one: it has `rows`."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        return path.is_file() and isinstance(values := read_yaml(path), dict) and "rows" in values
    return any(fnmatchcase(one, name) for one in table_names())


def load_table(name: str) -> StudyTable:
    """Read a table by name or path.

    Raises:
        UserError: no such table, an unknown key (with the nearest), or a name in it that isn't one.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else TABLES / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"{name}: no such table.{nearest(name, table_names())} `clipdistill tables` lists them")
    try:
        found = StudyTable.model_validate(read_yaml(path))
        found.check_names()
    except ValidationError as error:
        raise UserError(f"{name}: {explain(error, StudyTable)}") from error
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    return found


def chosen(table: StudyTable, rows: Sequence[str] = (), regimes: Sequence[str] = ()) -> StudyTable:
    """The part of a table whose rows and regimes fit one of the patterns; no pattern = all."""
    kept_rows = {name: row for name, row in table.rows.items() if _fits(name, rows)}
    kept_regimes = {name: how for name, how in table.regimes.items() if _fits(name, regimes)}

    def known(listed: list[str] | None) -> list[str] | None:
        return None if listed is None else [one for one in listed if one in kept_regimes]

    kept_rows = {
        name: row.model_copy(
            update={"regimes": known(row.regimes), "against": row.against if row.against in kept_rows else None}
        )
        for name, row in kept_rows.items()
    }
    measures = {name: one.model_copy(update={"regimes": known(one.regimes)}) for name, one in table.measures.items()}
    measures = {name: one for name, one in measures.items() if one.regimes != []}
    return table.model_copy(update={"rows": kept_rows, "regimes": kept_regimes, "measures": measures})


def require_fitting(what: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    """Raise a UserError for a pattern that none of the names fits."""
    for pattern in patterns:
        if not any(_fits(name, [pattern]) for name in names):
            raise UserError(
                f"--{what} {pattern}: none of the tables has it; they have {', '.join(dict.fromkeys(names))}"
            )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
