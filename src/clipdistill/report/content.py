"""What a report says, before it is Markdown or HTML: tables as rows of cells, in one place for both."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipdistill.errors import UserError
from clipdistill.report.paper import PaperRow, PaperTable, paper_table
from clipdistill.report.records import RunRecord
from clipdistill.report.tables import Group, Row, metric_label
from clipdistill.report.words import amount, change, headline_rows, percent, points, shown, uncertain

COST_LABELS = {
    "parameters": "parameters",
    "image_parameters": "parameters, image tower",
    "text_parameters": "parameters, text tower",
    "flops_per_pair": "FLOPs a pair (one picture, one text)",
    "images_per_second": "pictures embedded a second",
}
NO_MODEL = "\N{EN DASH}"
PAPER_HEADER = ["data set", "metric", "role", "model", "method", "printed", "measured here"]


@dataclass(frozen=True)
class Table:
    """A table to print: the header, rows of cells, and which columns hold numbers."""

    header: list[str]
    rows: list[list[str]]
    numbers: int = 1  # the first column that is right-aligned


def metric_table(group: Group) -> Table:
    """Every metric of a group: data set, items, metric, one column a role, gain, retention."""
    gain = [f"gain over {group.reference}"] if group.reference else []
    kept = [role for role in (group.teacher, "base") if role in group.roles]
    header = ["data set", "items", "metric", *group.roles, *gain, *(f"kept of {role}" for role in kept)]
    rows = []
    for row in group.rows:
        cells = [row.data, row.items, row.label]
        cells += [shown(row.values.get(role), row.metric) or NO_MODEL for role in group.roles]
        cells += [gain_text(row)] if group.reference else []
        cells += [f"{100 * row.kept[role].mean:.0f} %" if role in row.kept else NO_MODEL for role in kept if role]
        rows.append(cells)
    return Table(header, rows, numbers=3)


def units(group: Group) -> str:
    """What the numbers of `metric_table` are."""
    plain = " (CKA, alignment and uniformity as they are)" if any(row.plain for row in group.rows) else ""
    doubt = "in brackets where chance alone could make them"
    return f"Per cent{plain}; gains in points, {doubt}; ties count against the model."


def gain_text(row: Row) -> str:
    """A gain, in brackets where chance alone could make it: so it is neither green nor red."""
    gain = change(row.gain, row.metric) or NO_MODEL
    return f"({gain})" if row.gain is not None and uncertain(row) and gain not in ("0.0", "0.000") else gain


def cost_table(group: Group) -> Table:
    """Parameters, FLOPs and speed of each model."""
    rows = [["model", *(group.names[role] for role in group.roles)]]
    for key, label in COST_LABELS.items():
        if any(key in group.costs[role] for role in group.roles):
            cells = [group.costs[role].get(key) for role in group.roles]
            shown = [f"{cell:,.0f}" if key == "images_per_second" and cell else amount(cell) for cell in cells]
            rows.append([label, *(cell or NO_MODEL for cell in shown)])
    return Table(["", *group.roles], rows)


def training_table(group: Group) -> Table | None:
    """What the training of each run took, from its metrics."""
    rows = []
    for run in group.runs:
        for name, metrics in (("student", run.metrics), ("control", run.control_metrics)):
            if metrics:
                title = f"{name}, seed {run.seed}" if run.seed is not None else name
                rows.append([title, *_training(metrics)])
    header = ["training", "steps", "time", "samples/s", "MFU", "peak memory", "last loss"]
    return Table(header, rows) if rows else None


def overview_table(groups: Sequence[Group]) -> Table:
    """One line a group, for reports of several recipes."""
    columns: dict[tuple[str, str], str] = {}
    for group in groups:
        for row in headline_rows(group):
            columns.setdefault((row.data, row.metric), f"{row.data}: {row.label}")
    header = ["recipe", "seeds", "student model", "parameters", *columns.values()]
    rows = []
    for group in groups:
        found = {(row.data, row.metric): row for row in group.rows}
        cells = [_overview_cell(found.get(key)) for key in columns]
        parameters = amount(group.costs.get("student", {}).get("parameters")) or NO_MODEL
        seeds = ", ".join(str(run.seed) for run in group.runs)
        rows.append([group.title, seeds, group.names.get("student", NO_MODEL), parameters, *cells])
    return Table(header, rows, numbers=3)


def paper_numbers(group: Group) -> tuple[PaperTable, Table] | str | None:
    """The table of the paper that the recipe names, beside what was measured; a sentence when it can't be found."""
    key = group.runs[0].recipe.get("paper")
    if not key:
        return None
    try:
        paper = paper_table(str(key))
    except UserError as error:
        return str(error)
    behind = _drawn(group.runs[0].recipe)
    measured = {(row.data.casefold() + behind, row.metric): row.values for row in group.rows}
    rows = []
    for data, metric in paper.columns:
        for row in paper.rows:
            if (data, metric) in row.values:
                printed = f"{100 * row.values[data, metric]:.2f}".rstrip("0").rstrip(".")
                role = _role_of(row, paper, group)
                here = percent(measured.get((data.casefold(), metric), {}).get(role)) if role else ""
                label = metric_label(metric)
                rows.append([data, label, row.role, row.model, row.method or NO_MODEL, printed, here or NO_MODEL])
    return paper, Table(PAPER_HEADER, rows, numbers=5)


def _drawn(recipe: Mapping[str, Any]) -> str:
    """What stands behind the name of a data set in the paper's table, of a run that trained on a low-shot draw."""
    sources = (recipe.get("data") or {}).get("train") or []
    return next((f"@{one['low_shot']}" for one in sources if isinstance(one, dict) and one.get("low_shot")), "")


def _role_of(row: PaperRow, paper: PaperTable, group: Group) -> str | None:
    """The model of the run that a row of its paper's table is: its student for one row, the others by their role."""
    if row.key == paper.own:
        return "student"
    if row.role == "teacher":
        return group.teacher
    return row.role if row.role in ("base", "control") else None


def left_out_note(group: Group) -> str:
    """Say how many samples were left out of training and of evaluation; empty results count as none."""
    training = sum(len(run.bad) for run in group.runs)
    evaluation = {
        (result.data, str(item.get("id")))
        for run in group.runs
        for model in run.models.values()
        for result in model.results
        for item in result.artifacts.get("bad", ())
    }
    return (
        f"Bad samples: {training} in training (each run's `bad_samples.jsonl` lists them), "
        f"{len(evaluation)} left out of evaluation."
    )


def repeated_texts_note(group: Group) -> str:
    """Say when equal captions hold retrieval down, by the rule that ties count against a model."""
    found = {
        result.data: result.artifacts
        for run in group.runs
        for model in run.models.values()
        for result in model.results
        if result.artifacts.get("repeated_texts")
    }
    parts = [f"{data}: {entry['repeated_texts']:,} of {entry['texts']:,}" for data, entry in found.items()]
    if not parts:
        return ""
    listed = "; ".join(parts)
    return f"Captions that repeat another word for word ({listed}) tie with it, and ties count against every model."


def provenance(run: RunRecord) -> list[tuple[str, str]]:
    """Versions and the like, flattened to (name, text)."""
    return [("seed", str(run.seed)), *_flat(run.environment)]


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, entry in value.items() for pair in _flat(entry, f"{prefix} {key}".strip())]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(entry) for entry in value))]
    return [(prefix, str(value))]


def _overview_cell(row: Row | None) -> str:
    if row is None or "student" not in row.values:
        return NO_MODEL
    return percent(row.values["student"]) + (f" ({points(row.gain)})" if row.gain else "")


def _training(metrics: list[dict[str, Any]]) -> list[str]:
    def median(key: str) -> float | None:
        found = [row[key] for row in metrics if isinstance(row.get(key), int | float)]
        return statistics.median(found) if found else None

    speed, mfu, last = median("samples_per_second"), median("mfu"), metrics[-1]
    memory = max((row["peak_memory_mb"] for row in metrics if row.get("peak_memory_mb")), default=None)
    seconds, loss = last.get("seconds"), last.get("loss")
    return [
        f"{last['step']:,}",
        NO_MODEL if seconds is None else _duration(seconds),
        NO_MODEL if speed is None else f"{speed:,.0f}",
        NO_MODEL if mfu is None else f"{100 * mfu:.1f} %",
        NO_MODEL if memory is None else f"{memory:,.0f} MB",
        NO_MODEL if loss is None else f"{loss:.4g}",
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def confusion_sets(group: Group, most: int = 4) -> list[str]:
    """Return the zero-shot data sets whose confusion is shown, those with the classes apart first."""
    found = list(dict.fromkeys(row.data for row in group.rows if row.evaluator == "zero_shot"))
    return sorted(found, key=lambda data: " among all " in data)[:most]


def example_roles(examples: dict[str, Any] | Any, group: Group) -> list[str]:
    """Return the roles that some example shows, in the order of the tables."""
    found = list(dict.fromkeys(role for query in examples["queries"] for role in query["models"]))
    return [role for role in group.roles if role in found] + [role for role in found if role not in group.roles]


def examples_note(examples: dict[str, Any] | Any) -> str:
    """Say where the examples come from and how they were chosen."""
    return (
        f"{len(examples['queries'])} captions of {examples['data']}, drawn by seed {examples['seed']} and not by hand, "
        f"the same for every model; the first {examples['top']} of {examples['gallery']:,} pictures that each found, "
        "and the rank of the right one."
    )


def paper_note(paper: PaperTable) -> str:
    """Say where printed numbers come from, and what the paper prints besides of time and size."""
    besides = f" Also printed: {'; '.join(map(str, paper.facts))}." if paper.facts else ""
    return f"{paper.title}, {paper.printed}. Trained on {paper.trained_on}. Per cent. Source: {paper.source}.{besides}"


def paper_caution(rows: Table) -> str:
    """Say that printed numbers can't be compared when none of the paper's data sets was measured here."""
    if any(row[-1] != NO_MODEL for row in rows.rows):
        return ""
    return "None of the paper's data sets was measured here: these numbers can't be compared with those above."
