"""The numbers of a group of runs, side by side: values, gains, retention, each over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clipdistill.evaluate.results import Result, retention
from clipdistill.evaluate.speed import times_as_fast
from clipdistill.report.chance import PROPORTIONS, chance_levels, interval
from clipdistill.report.groups import group_by_recipe
from clipdistill.report.records import COSTS, RunRecord

METRICS = {
    **{
        f"{a}_to_{b}/{key}": f"{a} \N{RIGHTWARDS ARROW} {b} {label}"
        for a, b in (("text", "image"), ("image", "text"))
        for key, label in (("recall@1", "R@1"), ("recall@5", "R@5"), ("recall@10", "R@10"), ("map", "MAP"))
    },
    "image_to_text/mrr": "image \N{RIGHTWARDS ARROW} text MRR",
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "harmonic_mean": "harmonic mean of seen and unseen",
    "text": "text score",
    "image": "image score",
    "group": "group score",
    "text_argmax": "text choices right",
    "image_argmax": "image choices right",
    "macro": "mean over kinds",
    "accuracy": "accuracy",
    "q2a": "Q \N{RIGHTWARDS ARROW} A",
    "qa2r": "QA \N{RIGHTWARDS ARROW} R",
    "q2ar": "Q \N{RIGHTWARDS ARROW} AR",
    "q2ar_product": "Q \N{RIGHTWARDS ARROW} A times QA \N{RIGHTWARDS ARROW} R",
    "cka": "CKA with the teacher",
    "cka_unit": "CKA at length 1",
    "cka_before_last": "CKA of the layers before the last",
    "cka_layers": "CKA, mean over layers",
    "alignment": "alignment",
    "image_uniformity": "uniformity of pictures",
    "text_uniformity": "uniformity of captions",
}
_PLAIN = frozenset(
    ("cka", "cka_unit", "cka_before_last", "cka_layers", "alignment", "image_uniformity", "text_uniformity",
     "perception", "cognition", "categories", "other", "score")
)  # fmt: skip


def is_plain(metric: str) -> bool:
    """Whether a metric is no rate (MME's scores, CKA, counts): it is shown as it is, and no share of another's."""
    return metric.partition("/")[0] in _PLAIN


def metric_label(metric: str) -> str:
    """What a report calls a metric; one part of a benchmark's score is "text score, Object"."""
    whole, _, part = metric.partition("/")
    return METRICS.get(metric) or (f"{METRICS[whole]}, {part}" if part and whole in METRICS else metric)


@dataclass(frozen=True)
class Summary:
    """Values of one quantity over runs."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """The sample standard deviation; 0 for one value (of which no spread is known)."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def spread(self) -> bool:
        """Whether there is a spread to show: a teacher measured again with the same outcome has none."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Row:
    """One metric on one data set.

    Attributes:
        items: how many pictures, cases or questions, as text (a range where runs differ).
        count: the fewest of any run.
        values: by role.
        gain: student minus reference, paired by run; None without a reference.
        kept: student / teacher and student / base, paired by run, by role; what a run doesn't have is not in it.
        chance: what guessing gives; None where it isn't known, or runs differ in it.
    """

    evaluator: str
    data: str
    items: str
    count: int
    metric: str
    values: dict[str, Summary]
    gain: Summary | None
    kept: dict[str, Summary]
    chance: float | None = None

    @property
    def label(self) -> str:
        return metric_label(self.metric)

    @property
    def plain(self) -> bool:
        """Whether its values are no rates."""
        return is_plain(self.metric)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % of the student's mean over draws of the items; None where the metric is no share of them."""
        student = self.values.get("student")
        return interval(student.mean, self.count) if student and self.metric in PROPORTIONS else None


@dataclass(frozen=True)
class Group:
    """Runs of one recipe over seeds, with everything the report says of them."""

    title: str
    runs: list[RunRecord]
    roles: list[str]
    names: dict[str, str]
    reference: str | None
    teacher: str | None
    rows: list[Row]
    costs: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def faster(self) -> tuple[float, float, float] | None:
        """How many times as fast the student is as its teacher: median, least, most; None where it isn't known."""
        found = []
        for run in self.runs:
            student, teacher = run.models.get("student"), run.models.get(self.teacher or "")
            if student is None or teacher is None or (one := times_as_fast(student.speed, teacher.speed)) is None:
                return None
            found.append(one)
        middle, least, most = zip(*found, strict=True)
        return statistics.median(middle), min(least), max(most)

    @property
    def seeds(self) -> str:
        """Such as "3 seeds (0, 1, 2)"."""
        found = [run.seed for run in self.runs]
        listed = ", ".join("?" if seed is None else str(seed) for seed in found)
        if len(found) == 1:
            return "one run, no seed recorded" if found[0] is None else f"one seed ({listed})"
        different = len(set(found)) == len(found)
        return f"{len(found)} seeds ({listed})" if different else f"{len(found)} runs (seeds {listed})"


def build_groups(runs: Sequence[RunRecord]) -> list[Group]:
    """Group runs that differ only by seed and work out their tables."""
    return [_group(title, members) for title, members in group_by_recipe(runs)]


def _group(title: str, runs: list[RunRecord]) -> Group:
    found = {role for run in runs for role in run.models}
    teachers = sorted(role for role in found if role.startswith("teacher"))
    known = [*teachers, *(role for role in ("base", "control", "student") if role in found)]
    roles = known + sorted(found - set(known))
    reference = next((role for role in ("control", "base") if role in found), None)
    teacher = teachers[0] if teachers else None
    names = {role: next(run.models[role].name for run in runs if role in run.models) for role in roles}
    costs = {role: _costs([run.models[role].costs for run in runs if role in run.models]) for role in roles}
    return Group(title, runs, roles, names, reference, teacher, _rows(runs, roles, reference, teacher), costs)


def _costs(found: list[dict[str, float]]) -> dict[str, float]:
    return {
        key: statistics.median(values) for key in COSTS if (values := [costs[key] for costs in found if key in costs])
    }


def _rows(runs: list[RunRecord], roles: list[str], reference: str | None, teacher: str | None) -> list[Row]:
    tables = [{role: _by_data(model.results) for role, model in run.models.items()} for run in runs]
    keys: dict[tuple[str, str], dict[str, None]] = {}  # dictionaries as ordered sets
    for table in tables:
        for results in table.values():
            for key, result in results.items():
                keys.setdefault(key, {}).update(dict.fromkeys(result.metrics))
    rows = []
    for key, metrics in keys.items():
        counts = sorted({table[role][key].n for table in tables for role in table if key in table[role]})
        items = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}\N{EN DASH}{counts[-1]:,}"
        levels = [chance_levels(table[role][key]) for table in tables for role in table if key in table[role]]
        ordered = [name for name in METRICS if name in metrics] + [name for name in metrics if name not in METRICS]
        for metric in ordered:
            each = [
                {role: table[role][key].metrics.get(metric) for role in table if key in table[role]} for table in tables
            ]
            values = {
                role: Summary(tuple(value for run in each if (value := run.get(role)) is not None)) for role in roles
            }
            rows.append(
                Row(
                    evaluator=key[0],
                    data=key[1],
                    items=items,
                    count=counts[0],
                    metric=metric,
                    values={role: summary for role, summary in values.items() if summary.n},
                    gain=_paired(each, reference, lambda student, other: student - other),
                    kept={
                        role: share
                        for role in (teacher, "base")
                        if role and not is_plain(metric) and (share := _paired(each, role, retention)) is not None
                    },
                    chance=_agreed([each.get(metric) for each in levels]),
                )
            )
    return rows


def _agreed(found: list[float | None]) -> float | None:
    """The one value of all; None where there are several."""
    return found[0] if len(set(found)) == 1 else None


def _by_data(results: list[Result]) -> dict[tuple[str, str], Result]:
    """By suite and data; a suite that measured data of the same name again has a number behind the name."""
    found: dict[tuple[str, str], Result] = {}
    for result in results:
        key, number = (result.evaluator, result.data), 1
        while key in found:
            number += 1
            key = (result.evaluator, f"{result.data} ({number})")
        found[key] = result
    return found


def _paired(each: list[dict[str, float | None]], other: str | None, combine: Any) -> Summary | None:
    if other is None:
        return None
    pairs = [(run.get("student"), run.get(other)) for run in each]
    found = [combine(student, value) for student, value in pairs if student is not None and value is not None]
    kept = tuple(value for value in found if value is not None)
    return Summary(kept) if kept else None
