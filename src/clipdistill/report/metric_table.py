"""Every metric of a group of runs as a table: each model, the student's interval, chance, gain, what was kept."""

from __future__ import annotations

from clipdistill.report.chance import NOTE
from clipdistill.report.content import NO_MODEL, Table
from clipdistill.report.tables import Group, Row
from clipdistill.report.words import FEW, change, doubtful_share, shown, uncertain


def metric_table(group: Group, wide: bool = True) -> Table:
    """Every metric of a group: data set, items, metric, one column a role, 95 %, chance, gain, retention.

    wide: with what guessing gives and the interval of the student's number, where any row has them.
    """
    gain = [f"gain over {group.reference}"] if group.reference else []
    kept = [role for role in (group.teacher, "base") if role in group.roles]
    guess = ["chance"] if wide and any(row.chance is not None for row in group.rows) else []
    range_ = ["student, 95 %"] if wide and any(row.interval for row in group.rows) else []
    header = [
        "data set",
        "items",
        "metric",
        *group.roles,
        *range_,
        *guess,
        *gain,
        *(f"kept of {role}" for role in kept),
    ]
    rows = []
    for row in group.rows:
        cells = [row.data, row.items, row.label]
        cells += [shown(row.values.get(role), row.metric) or NO_MODEL for role in group.roles]
        cells += [_range(row)] if range_ else []
        cells += [NO_MODEL if row.chance is None else f"{100 * row.chance:.1f}"] if guess else []
        cells += [gain_text(row)] if group.reference else []
        cells += [kept_text(row, role) for role in kept if role]
        rows.append(cells)
    return Table(header, rows, numbers=3)


def kept_text(row: Row, role: str) -> str:
    """The share that the student kept, in brackets where it is no share to rely on."""
    if role not in row.kept:
        return NO_MODEL
    share = f"{100 * row.kept[role].mean:.0f} %"
    return f"({share})" if doubtful_share(row, role) else share


def metric_notes(group: Group) -> list[str]:
    """What there is to say below `metric_table`: units, what brackets mean, what the interval covers."""
    plain = " (CKA, alignment and uniformity as they are)" if any(row.plain for row in group.rows) else ""
    doubt = "in brackets where chance alone could make them"
    notes = [f"Per cent{plain}; gains in points, {doubt}; ties count against the model."]
    if any(row.interval for row in group.rows):
        notes.append(NOTE)
    if any(doubtful_share(row, role) for row in group.rows for role in row.kept):
        notes.append(
            f"Kept in brackets: above 100 % the student is the better one, and of fewer than {FEW} items, or where the "
            "other one is near chance, a share says little."
        )
    return notes


def _range(row: Row) -> str:
    if row.interval is None:
        return NO_MODEL
    low, high = (f"{100 * side:.1f}" for side in row.interval)
    return f"{low}\N{EN DASH}{high}"


def gain_text(row: Row) -> str:
    """A gain, in brackets where chance alone could make it: so it is neither green nor red."""
    gain = change(row.gain, row.metric) or NO_MODEL
    return f"({gain})" if row.gain is not None and uncertain(row) and gain not in ("0.0", "0.000") else gain
