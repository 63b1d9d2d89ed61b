"""Confusion matrices: of a few classes to be read whole, of many with their commonest mistakes in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipdistill.report.figures import COLOURS, GRID, INK, MUTED, pyplot
from clipdistill.report.tables import Group

MOST_BESIDE, MOST_NAMED = 24, 120
"""Classes up to which models stand side by side, to be read at a glance, and up to which classes are named."""


def confusion_figure(group: Group, data: str) -> Any | None:
    """Draw the confusion matrices of every model on one data set, each row as shares; None when none was stored.

    Few classes: the models side by side, under one list of names. Up to 120 classes (CIFAR-100): one model under the
    other, each as wide as a page, so that every name can be read. More: no names.
    """
    found = {role: total for role in group.roles if (total := confusion_counts(group, data, role)) is not None}
    if not found:
        return None
    plt = pyplot()
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    classes = next(iter(found.values()))[0]
    rows = [row for row in range(len(classes)) if any(sum(counts[row]) for _, counts in found.values())]
    named, large = len(classes) <= MOST_NAMED, MOST_BESIDE < len(classes) <= MOST_NAMED
    letters = 5.5 if large else 7.0  # points
    longest = max(len(name) for name in classes) if named else 0
    margin = 0.0107 * letters * longest  # inches that class names take beside and below the squares
    side = 0.09 * len(classes) if large else 2.2 + (0.09 * len(classes) if named else 0.9)
    height = side * max(0.3, len(rows) / len(classes))
    if large:
        shape, size = (len(found), 1), (side + 0.5 + margin, len(found) * (height + 0.3 + margin))
    else:
        shape, size = (1, len(found)), (len(found) * side + 0.4 + margin, height + 0.3 + margin)
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axis, (role, (_, counts)) in zip(axes.flat, found.items(), strict=True):
        shares = [[cell / max(sum(counts[row]), 1) for cell in counts[row]] for row in rows]
        colour = COLOURS.get(role, COLOURS["teacher"])
        clear = LinearSegmentedColormap.from_list(role, [f"{colour}00", f"{colour}ff"])  # see-through: fits any page
        axis.imshow(shares, cmap=clear, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
        axis.set_title(role, loc="left", fontsize=10, color=INK)
        axis.set_xticks(range(len(classes)) if named else [], classes if named else [], rotation=90, fontsize=letters)
        names = [classes[row] for row in rows] if named else []
        axis.set_yticks(range(len(rows)) if named else [], names, fontsize=letters)
        axis.tick_params(length=0, colors=MUTED, pad=1.5 if large else 3.5)
        if large:  # lines to follow from a name to its square
            axis.set_xticks([n - 0.5 for n in range(5, len(classes), 5)], minor=True)
            axis.set_yticks([n - 0.5 for n in range(5, len(rows), 5)], minor=True)
            axis.grid(which="minor", color=GRID, lw=0.4)
            axis.tick_params(which="minor", length=0)
        for spine in axis.spines.values():
            spine.set_color(GRID)
    axes[0][0].set_ylabel(f"true class ({len(rows)})", fontsize=8, color=MUTED)
    return figure


def confusion_counts(group: Group, data: str, role: str) -> tuple[list[str], list[list[int]]] | None:
    """Return (class names, counts [C][C], rows true and columns predicted) summed over the runs; None if not stored."""
    total: list[list[int]] | None = None
    classes: list[str] = []
    for run in group.runs:
        for result in run.models[role].results if role in run.models else ():
            if result.evaluator != "zero_shot" or result.data != data or "classes" not in result.artifacts:
                continue
            names, counts = [str(name) for name in result.artifacts["classes"]], _counts(result.artifacts)
            if counts is None or (total is not None and names != classes):
                continue
            classes = names
            if total is None:
                total = counts
            else:
                total = [[a + b for a, b in zip(one, two, strict=True)] for one, two in zip(total, counts, strict=True)]
    return None if total is None else (classes, total)


def most_confused(classes: Sequence[str], counts: Sequence[Sequence[int]], top: int = 5) -> list[tuple[str, str, int]]:
    """Return the commonest mistakes as (true, taken for, how often)."""
    cells = [(count, -i, -j) for i, row in enumerate(counts) for j, count in enumerate(row) if i != j and count > 0]
    return [(classes[-i], classes[-j], count) for count, i, j in sorted(cells, reverse=True)[:top]]


def is_large(group: Group, data: str) -> bool:
    """Whether a data set has more classes than can be read at a glance: its matrices are folded away, or linked."""
    found = (confusion_counts(group, data, role) for role in group.roles)
    return any(one is not None and len(one[0]) > MOST_BESIDE for one in found)


def mistakes_note(group: Group, data: str) -> str:
    """The student's commonest mistakes in a sentence; empty where it made none."""
    confused = confusion_counts(group, data, "student")
    pairs = most_confused(*confused) if confused else []
    words = "; ".join(f"{true} taken for {guess} ({count}\N{MULTIPLICATION SIGN})" for true, guess, count in pairs)
    return f"The student's commonest mistakes: {words}." if words else ""


def _counts(artifacts: dict[str, Any]) -> list[list[int]] | None:
    if "confusion" in artifacts:
        return [[int(cell) for cell in row] for row in artifacts["confusion"]]
    if "confusion_cells" in artifacts:
        size = len(artifacts["classes"])
        counts = [[0] * size for _ in range(size)]
        for row, column, count in artifacts["confusion_cells"]:
            counts[row][column] = int(count)
        return counts
    return None
