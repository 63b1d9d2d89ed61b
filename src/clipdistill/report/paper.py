"""Numbers that papers printed, kept as data, to be set beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from clipdistill.errors import UserError, nearest

FOLDER = Path(__file__).parent / "paper_numbers"


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper: `rows` are (role, model, method, value), value a fraction; the rest says what it is."""

    title: str
    source: str
    data: str
    metric: str
    trained_on: str
    rows: tuple[tuple[str, str, str, float], ...]


def paper_table(key: str) -> PaperTable:
    """Return the table that a recipe names, such as `"clip_kd/vit_t16_from_vit_b16"`.

    Raises:
        UserError: there is no such paper or table.
    """
    paper, _, table = key.partition("/")
    papers = [path.stem for path in sorted(FOLDER.glob("*.yaml"))]
    if paper not in papers:
        raise UserError(f"paper: no numbers of '{paper}'; there are {', '.join(papers)}.{nearest(paper, papers)}")
    content = yaml.safe_load((FOLDER / f"{paper}.yaml").read_text(encoding="utf-8"))
    tables = content["tables"]
    if table not in tables:
        raise UserError(f"paper: '{paper}' has no table '{table}'; see `report/paper_numbers`.{nearest(table, tables)}")
    found = tables[table]
    teacher, control = found["teacher"], found["control"]
    rows = [("teacher", teacher["name"], "", teacher["value"]), ("control", control["name"], "", control["value"])]
    rows += [("student", control["name"], method, value) for method, value in found["students"].items()]
    return PaperTable(
        title=content["title"],
        source=content["source"],
        data=content["data"],
        metric=content["metric"],
        trained_on=found["trained_on"],
        rows=tuple((role, model, method, value / 100) for role, model, method, value in rows),
    )
