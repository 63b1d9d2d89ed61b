"""What a report says, before it is Markdown or HTML: tables as rows of cells, in one place for both."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipdistill.report.records import RunRecord, loss_terms
from clipdistill.report.tables import Group, Row
from clipdistill.report.words import amount, headline_rows, percent, points

COST_LABELS = {
    "parameters": "parameters",
    "image_parameters": "parameters, image tower",
    "text_parameters": "parameters, text tower",
    "flops_per_pair": "FLOPs a pair (one picture, one text)",
    "images_per_second": "pictures embedded a second, in turn on the run's machine",
}
NO_MODEL = "\N{EN DASH}"


@dataclass(frozen=True)
class Table:
    """A table to print: the header, rows of cells, and which columns hold numbers."""

    header: list[str]
    rows: list[list[str]]
    numbers: int = 1  # the first column that is right-aligned


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
    header = ["training", "steps", "time", "samples/s", "MFU", "peak memory", "last loss, term by term"]
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
    seconds = last.get("seconds")
    return [
        f"{last['step']:,}",
        NO_MODEL if seconds is None else _duration(seconds),
        NO_MODEL if speed is None else f"{speed:,.0f}",
        NO_MODEL if mfu is None else f"{100 * mfu:.1f} %",
        NO_MODEL if memory is None else f"{memory:,.0f} MB",
        _last_terms(last),
    ]


def _last_terms(last: dict[str, Any]) -> str:
    """Each term as it was at the end. Sums of different terms, weighted, can't be compared: they are for a bare run."""
    terms = loss_terms([last])
    found = [(term.removeprefix("loss/"), last[term]) for term in terms if isinstance(last[term], int | float)]
    if [term for term, _ in found] == ["loss"]:
        return f"{found[0][1]:.4g}"
    return ", ".join(f"{term} {value:.3g}" for term, value in found) or NO_MODEL


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
