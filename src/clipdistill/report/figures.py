"""Figures: loss curves and confusion matrices, as SVG that follows the page's colours and as PNG for Markdown."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

from clipdistill.report.records import RunRecord
from clipdistill.report.tables import Group

# Colours that stand for CSS variables: they are drawn as they are in PNG, and replaced by the variables in SVG.
INK, MUTED, GRID = "#1c2128", "#68727f", "#dde1e6"
COLOURS = {"student": "#0b8a7a", "control": "#c2620f", "base": "#c2620e", "teacher": "#6d4fd0"}
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line"} | {hexa: f"--{role}" for role, hexa in COLOURS.items()}
NOT_TERMS = ("loss/total",)


def loss_figure(group: Group) -> Any | None:
    """Draw the loss and each of its terms over steps, student beside control; None when no run logged any.

    A line is the mean over runs of a running mean; the band spans the runs.
    """
    student = {role: [rows for rows in found if rows] for role, found in _curves(group.runs).items()}
    terms = _terms(student)
    if not terms:
        return None
    plt = pyplot()
    columns = min(3, len(terms))
    lines = math.ceil(len(terms) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.55 * columns, 2.35 * lines + 0.35), squeeze=False)
    used: dict[str, Any] = {}
    for axis, term in zip(axes.flat, terms, strict=False):
        for role in ("control", "student"):
            series = [_series(rows, term) for rows in student[role]]
            series = [points for points in series if points]
            if series:
                used[role] = _draw(axis, series, COLOURS[role])
        title = "weighted sum" if term == "loss" else term.removeprefix("loss/").replace("_", " ")
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axes_style(axis)
    for axis in axes.flat[len(terms) :]:
        axis.axis("off")
    for axis in axes[-1]:
        axis.set_xlabel("step", fontsize=8, color=MUTED)
    order = [role for role in ("student", "control") if role in used]
    figure.legend([used[role] for role in order], order, loc="upper right", ncols=2, frameon=False, labelcolor=INK)
    figure.tight_layout(rect=(0, 0, 1, 0.96 if lines > 1 else 0.93))
    return figure


MOST_BESIDE, MOST_NAMED = 24, 120
"""Classes up to which models stand side by side, and up to which classes are named."""


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


def to_svg(figure: Any) -> str:
    """Return the figure as an `<svg>` element that takes the page's colours and font, and close it."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    close(figure)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for hexa, variable in VARIABLES.items():
        text = text.replace(hexa, f"var({variable})")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)
    return re.sub(
        r'(<svg[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"', r'\1 class="figure" style="max-width:\2pt"', text
    )


def to_png(figure: Any) -> bytes:
    """Return the figure as a PNG on white, and leave it open."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def close(figure: Any) -> None:
    """Let go of a figure."""
    pyplot().close(figure)


def pyplot() -> Any:
    """matplotlib without a screen, its SVG the same from run to run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "clipdistill", "font.size": 9})
    return plt


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


def _curves(runs: Sequence[RunRecord]) -> dict[str, list[list[dict[str, Any]]]]:
    return {"student": [run.metrics for run in runs], "control": [run.control_metrics for run in runs]}


def _terms(curves: dict[str, list[list[dict[str, Any]]]]) -> list[str]:
    """Return "loss" and the terms of the student's loss and of its control's, in the order they were logged."""
    found: dict[str, None] = {}
    for rows in (*curves["student"], *curves["control"]):
        for name in dict.fromkeys(name for row in rows for name in row):
            if (name == "loss" or name.startswith("loss/")) and name not in NOT_TERMS:
                found[name] = None
    parts = [name for name in found if name != "loss"]
    return (["loss"] if "loss" in found else []) + parts


def _series(rows: list[dict[str, Any]], term: str) -> list[tuple[float, float]]:
    found = [(float(row["step"]), float(row[term])) for row in rows if isinstance(row.get(term), int | float)]
    return [(step, value) for step, value in found if math.isfinite(value)]


def _draw(axis: Any, series: list[list[tuple[float, float]]], colour: str) -> Any:
    import numpy as np

    grid = np.unique(np.concatenate([[step for step, _ in points] for points in series]))
    grid = grid[np.linspace(0, len(grid) - 1, min(len(grid), 300)).astype(int)]
    smooth = []
    for points in series:
        steps, values = np.array(points).T
        window = max(1, len(values) // 40)
        padded = np.pad(values, (window // 2, window - 1 - window // 2), mode="edge")
        running = np.convolve(padded, np.ones(window) / window, mode="valid")
        smooth.append(np.interp(grid, steps, running, right=np.nan))
    stacked = np.array(smooth)
    if len(series) > 1:
        axis.fill_between(grid, np.nanmin(stacked, axis=0), np.nanmax(stacked, axis=0), color=colour, alpha=0.18, lw=0)
    elif len(series[0]) > 60:
        axis.plot(*np.array(series[0]).T, color=colour, alpha=0.25, lw=0.6)
    (line,) = axis.plot(grid, np.nanmean(stacked, axis=0), color=colour, lw=1.6, marker="o" if len(grid) == 1 else None)
    return line


def axes_style(axis: Any) -> None:
    """A report's axes: a quiet grid, one spine."""
    axis.grid(axis="y", color=GRID, lw=0.6)
    axis.tick_params(colors=MUTED, labelsize=8, length=0)
    axis.locator_params(nbins=5)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
