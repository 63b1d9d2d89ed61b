"""Figures: loss curves, and how any figure is drawn: as SVG that follows the page's colours and as PNG for Markdown."""

from __future__ import annotations

import io
import math
import re
from typing import Any

from clipdistill.report.records import loss_terms
from clipdistill.report.tables import Group

# Colours that stand for CSS variables: they are drawn as they are in PNG, and replaced by the variables in SVG.
INK, MUTED, GRID = "#1c2128", "#68727f", "#dde1e6"
COLOURS = {"student": "#0b8a7a", "control": "#c2620f", "base": "#c2620e", "teacher": "#6d4fd0"}
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line"} | {hexa: f"--{role}" for role, hexa in COLOURS.items()}


def loss_figure(group: Group) -> Any | None:
    """Draw each term of the loss over steps, student beside control; None when no run logged any.

    A line is the mean over runs of a running mean; the band spans the runs. Weighted sums are never set side by side,
    since student and control sum up different terms: a run that logged no terms shows the student's sum alone.
    """
    curves = {
        "student": [run.metrics for run in group.runs if run.metrics],
        "control": [run.control_metrics for run in group.runs if run.control_metrics],
    }
    terms = loss_terms(row for found in curves.values() for rows in found for row in rows)
    if not terms:
        return None
    plt = pyplot()
    columns = min(3, len(terms))
    lines = math.ceil(len(terms) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.55 * columns, 2.35 * lines + 0.35), squeeze=False)
    used: dict[str, Any] = {}
    for axis, term in zip(axes.flat, terms, strict=False):
        for role in ("control", "student") if term != "loss" else ("student",):
            series = [_series(rows, term) for rows in curves[role]]
            series = [points for points in series if points]
            if series:
                used[role] = _draw(axis, series, COLOURS[role])
        title = term.removeprefix("loss/").replace("_", " ")
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
