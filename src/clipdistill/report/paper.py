"""Numbers that papers printed, kept as data, to be set beside what was measured.

A file of `paper_numbers/` is one paper: `title`, `source` and `tables`. A table has

- `printed`: where it stands in the paper; `trained_on`;
- `columns`: data set -> metrics, both as the evaluators of this package name them; DATA@N is after training on a
  low-shot draw of N samples (`vcr@700`), or without any (`vcr@0`);
- `rows`: key -> `role` (teacher, base, control, student, or other: only printed), `model`, `method`, and `values`: data
  set -> the numbers of its columns in per cent, `null` where the paper has none;
- `without_recipe`, on the table or on a row: why no recipe trains it.

`facts`, beside `tables`, are printed numbers that no evaluator measures, such as hours and sizes: each is `what`,
`value`, `unit`, `printed`, and `tables`, those whose reports show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError, nearest
from clipdistill.yaml_files import read_yaml

FOLDER = Path(__file__).parent / "paper_numbers"
ROLES = ("teacher", "base", "control", "student", "other")


@dataclass(frozen=True)
class PaperRow:
    """A model of a table.

    Attributes:
        role: what it is to a run of the table's recipe, one of ROLES.
        values: (data set, metric) -> fraction; what the paper doesn't print is not in it.
        without_recipe: why no recipe trains it; empty where one does, or where a run measures it by its role.
    """

    key: str
    role: str
    model: str
    method: str
    values: dict[tuple[str, str], float]
    without_recipe: str


@dataclass(frozen=True)
class PaperFact:
    """A printed number that no evaluator measures; `tables` are those of the paper that it belongs to, perhaps none."""

    what: str
    value: float
    unit: str
    printed: str
    tables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what}: {self.value:g} {self.unit} ({self.printed})"


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper; `own` is the key of the row that the recipe's student is set beside."""

    title: str
    source: str
    printed: str
    trained_on: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[PaperRow, ...]
    own: str | None
    facts: tuple[PaperFact, ...] = ()


def paper_table(key: str) -> PaperTable:
    """Return the table that a recipe names: `"dclip/vit_b32"`, or `"dclip/ablations/no_yolo"` with one of its rows.

    The row is needed where a table has several students; a table without any has no row of its own.

    Raises:
        UserError: there is no such paper, table or row, or the row is left out and there are several.
    """
    paper, table, row = (*key.split("/", 2), "", "")[:3]
    content = _table(paper, table)
    found = content["tables"][table]
    by_key, columns, _ = paper_rows(f"{paper}/{table}")
    rows = tuple(by_key.values())
    students = [one.key for one in rows if one.role == "student"]
    if row and row not in found["rows"]:
        keys = list(found["rows"])
        raise UserError(f"paper: '{paper}/{table}' has no row '{row}'; it has {', '.join(keys)}.{nearest(row, keys)}")
    if not row and len(students) > 1:
        named = ", ".join(f"{table}/{one}" for one in students)
        raise UserError(f"paper: '{paper}/{table}' has several students; name one: {named}")
    own = row or next(iter(students), None)
    facts = tuple(fact for fact in paper_facts(paper) if table in fact.tables)
    heading = content["title"], content["source"], found["printed"], found["trained_on"]
    return PaperTable(*heading, columns, rows, own, facts)


def paper_rows(key: str) -> tuple[dict[str, PaperRow], tuple[tuple[str, str], ...], str]:
    """All rows of a table PAPER/TABLE by key, its columns, and where it stands; UserError when there is none."""
    paper, _, table = key.partition("/")
    content = _table(paper, table)
    found = content["tables"][table]
    rows = {name: _row(name, entry, found) for name, entry in found["rows"].items()}
    columns = tuple((data, metric) for data, metrics in found["columns"].items() for metric in metrics)
    return rows, columns, f"{content['title']}, {found['printed']}. Source: {content['source']}."


def paper_facts(paper: str) -> tuple[PaperFact, ...]:
    """The numbers of a paper that stand in none of its tables of results."""
    entries = _content(paper).get("facts", [])
    return tuple(PaperFact(**{**entry, "tables": tuple(entry.get("tables", ()))}) for entry in entries)


def paper_source(paper: str) -> str:
    """Its title, and where its numbers come from; UserError when there are no numbers of it."""
    papers = paper_names()
    if paper not in papers:
        raise UserError(f"paper: no numbers of '{paper}'; there are {', '.join(papers)}.{nearest(paper, papers)}")
    content = _content(paper)
    return f"{content['title']}. Source: {content['source']}."


def paper_names() -> list[str]:
    """The papers that there are numbers of."""
    return [path.stem for path in sorted(FOLDER.glob("*.yaml"))]


def table_names(paper: str) -> list[str]:
    """The tables of a paper."""
    return list(_content(paper)["tables"])


@cache
def _content(paper: str) -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(FOLDER / f"{paper}.yaml")
    return content


def _table(paper: str, table: str) -> dict[str, Any]:
    """The content of a paper's file, which has that table."""
    paper_source(paper)
    content = _content(paper)
    tables = content["tables"]
    if table not in tables:
        raise UserError(f"paper: '{paper}' has no table '{table}'; see `report/paper_numbers`.{nearest(table, tables)}")
    return content


def _row(key: str, entry: dict[str, Any], table: dict[str, Any]) -> PaperRow:
    values = {
        (data, metric): value / 100
        for data, printed in entry["values"].items()
        for metric, value in zip(table["columns"][data], printed, strict=True)
        if value is not None
    }
    reason = entry.get("without_recipe") or table.get("without_recipe") or ""
    return PaperRow(key, entry["role"], entry["model"], entry.get("method", ""), values, reason)
