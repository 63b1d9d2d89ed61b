"""Numbers as text, and the plain sentences at the top of a report: what was kept, gained or lost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clipdistill.report.chance import interval
from clipdistill.report.groups import differing_keys
from clipdistill.report.tables import Group, Row, Summary, is_plain

ARROW, PLUS_MINUS, MINUS = "\N{RIGHTWARDS ARROW}", "\N{PLUS-MINUS SIGN}", "\N{MINUS SIGN}"

FEW = 100
"""Items below which a share of two rates isn't relied on."""

FIRST_ASKED = ("text_to_image/recall@1", "top1", "q2a", "qa2r", "q2ar", "accuracy")


def percent(summary: Summary | None, digits: int = 1) -> str:
    """A fraction as per cent, with the standard deviation where there is one: "21.3 ± 0.4"."""
    if summary is None:
        return ""
    text = f"{100 * summary.mean:.{digits}f}"
    return f"{text} {PLUS_MINUS} {100 * summary.sd:.{digits}f}" if summary.spread else text


def points(summary: Summary | None) -> str:
    """A difference of fractions in percentage points with its sign: "+9.1 ± 0.3"."""
    if summary is None:
        return ""
    value = f"{abs(100 * summary.mean):.1f}"
    sign = "" if value == "0.0" else "+" if summary.mean > 0 else MINUS
    return f"{sign}{value}" + (f" {PLUS_MINUS} {100 * summary.sd:.1f}" if summary.spread else "")


def shown(summary: Summary | None, metric: str) -> str:
    """A value of a metric: per cent, or with three digits where it is no rate."""
    if summary is None or not is_plain(metric):
        return percent(summary)
    return f"{summary.mean:.3f} {PLUS_MINUS} {summary.sd:.3f}" if summary.spread else f"{summary.mean:.3f}"


def change(summary: Summary | None, metric: str) -> str:
    """A difference of two values of a metric, with its sign: in points, or with three digits where it is no rate."""
    if summary is None or not is_plain(metric):
        return points(summary)
    value = f"{abs(summary.mean):.3f}"
    sign = "" if value == "0.000" else "+" if summary.mean > 0 else MINUS
    return f"{sign}{value}" + (f" {PLUS_MINUS} {summary.sd:.3f}" if summary.spread else "")


def amount(value: float | None) -> str:
    """A count with a unit letter: 3.7M, 12.4G."""
    if value is None:
        return ""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}" if value / size < 100 else f"{value / size:.0f}{letter}"
    return f"{value:.3g}"


def uncertain(row: Row) -> bool:
    """Whether a gain is too small to tell from chance.

    Over several runs: less than two standard errors of the paired differences. For one run: less than two standard
    errors of two independent rates over as many items as were measured.
    """
    gain = row.gain
    if gain is None:
        return True
    if gain.n > 1:
        return abs(gain.mean) < 2 * gain.sd / math.sqrt(gain.n)
    if row.plain:
        return True  # nothing is known of its spread
    rates = [row.values["student"].mean, row.values["student"].mean - gain.mean]
    return abs(gain.mean) < 2 * math.sqrt(sum(rate * (1 - rate) for rate in rates) / max(row.count, 1))


def doubtful_share(row: Row, role: str) -> bool:
    """Whether student / other is no share to rely on.

    It is above 100 %, of few items, or the other isn't clearly better than guessing.
    """
    if row.kept[role].mean > 1 or row.count < FEW:
        return True
    other = interval(row.values[role].mean, row.count)
    return row.chance is not None and other is not None and other[0] <= row.chance


def headline_rows(group: Group) -> list[Row]:
    """Return the rows that a reader asks for first, at most four.

    Winoground's text score and ARO's overall one, then what questions are measured by, recall@1 or top-1 of each data
    set; where there is none of these, the first of each data set's numbers.
    """
    measured = [row for row in group.rows if "student" in row.values and not row.plain]
    compositional = [row for row in measured if (row.data, row.metric) in (("winoground", "text"), ("aro", "macro"))]
    rows = [row for row in measured if row.metric in FIRST_ASKED]
    apart = [row for row in rows if " among all " not in row.data]
    return (compositional + (apart or rows) or list({row.data: row for row in reversed(measured)}.values())[::-1])[:4]


def report_title(groups: Sequence[Group]) -> str:
    """What a report of these is about, in words: one recipe, a recipe's variants, or recipes beside each other."""
    counts = sorted({len(group.runs) for group in groups})
    each = (
        "one run" if counts == [1] else f"{counts[0]} runs" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} runs"
    )
    if len(groups) == 1:
        return groups[0].title if counts == [1] else f"{groups[0].title}: {groups[0].seeds}"
    names = list(dict.fromkeys(group.runs[0].name for group in groups))
    if len(names) == 1:
        keys = differing_keys([group.runs[0] for group in groups])[:2]
        by = f" by {' and '.join(keys)}" if keys else ""
        return f"{names[0]}: {len(groups)} variants{by}, {each} each"
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) <= 3 else f"{len(names)} recipes"
    return f"{listed} compared, {each} each"


def headline(group: Group) -> list[str]:
    """Return sentences on what the student keeps of its teacher and gains over or loses against its reference."""
    rows = headline_rows(group)
    if not rows:
        if any("student" in row.values for row in group.rows):
            return []
        return ["This run has not been evaluated yet; the report shows its training only."]
    sentences = [_sentence(row, group) for row in rows]
    if cost := _cost_sentence(group):
        sentences.append(cost)
    if len(group.runs) == 1:
        sentences.append("One run: the spread over seeds is not known.")
    if group.reference is None:
        sentences.append("There is no control, so nothing here says what distillation itself gained.")
    return sentences


def _sentence(row: Row, group: Group) -> str:
    student = percent(row.values["student"])
    if group.teacher is not None and group.teacher in row.kept:
        teacher = percent(row.values[group.teacher])
        share = f"{100 * row.kept[group.teacher].mean:.0f} % of the teacher's {row.label} on {row.data}"
        kept = f"keeps {share} ({student} of {teacher} %)"
        if doubtful_share(row, group.teacher):
            kept = f"reaches {student} % {row.label} on {row.data}, where the teacher has {teacher} %,"
    else:
        kept = f"reaches {student} % {row.label} on {row.data}"
    if row.gain is None or group.reference is None:
        return f"The student {kept.rstrip(',')}."
    reference = f"the {group.reference} ({percent(row.values[group.reference])} %)"
    size = points(row.gain).lstrip("+" + MINUS)
    if abs(row.gain.mean) < 5e-4:
        return f"The student {kept.rstrip(',')}; it is level with {reference}."
    change = f"and gains {size} points over" if row.gain.mean > 0 else f"but loses {size} points against"
    doubt = ", a difference that chance alone could make" if uncertain(row) else ""
    return f"The student {kept} {change} {reference}{doubt}."


def _cost_sentence(group: Group) -> str:
    student, teacher = group.costs.get("student", {}), group.costs.get(group.teacher or "", {})
    parts = []
    if "parameters" in student and teacher.get("parameters"):
        share = student["parameters"] / teacher["parameters"]
        parts.append(f"has {amount(student['parameters'])} parameters ({100 * share:.0f} % of the teacher's)")
    if "flops_per_pair" in student and teacher.get("flops_per_pair"):
        parts.append(f"needs {100 * student['flops_per_pair'] / teacher['flops_per_pair']:.0f} % of its FLOPs")
    if group.faster is not None:
        times, least, most = group.faster
        parts.append(f"embeds {times:.1f} times as many pictures a second ({least:.1f} to {most:.1f}, timed in turn)")
    if not parts:
        return ""
    return "It " + (", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]) + "."
