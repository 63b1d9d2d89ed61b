"""Figures of panels as wide as a phone: side by side on a wide page, below each other on a narrow one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipdistill.report.figures import INK, MUTED, axes_style, pyplot, to_png, to_svg
from clipdistill.report.html_page import escape

WIDTH = 3.4
"""Inches of a panel: 326 pixels, so that its letters are as large on a phone as elsewhere."""
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7f7f7f", "#8C510A")
"""Colours that people with any kind of colour vision tell apart (Okabe and Ito's, yellow and black left out)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""As many shapes, so that colour isn't needed."""


@dataclass(frozen=True)
class Panel:
    """One chart. draw: is given a matplotlib axis. height: inches."""

    title: str
    draw: Callable[[Any], None]
    height: float = 2.6


@dataclass(frozen=True)
class Figure:
    """Panels under a heading, what is said of them, and the numbers behind them.

    name: of its files. columns, rows: the numbers, as CSV has them.
    """

    name: str
    title: str
    notes: list[str]
    panels: list[Panel]
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)


def html_of(figure: Figure) -> str:
    """Its panels as SVG, each as wide as the page lets it be."""
    drawn = []
    for panel in figure.panels:
        canvas, axis = pyplot().subplots(figsize=(WIDTH, panel.height), layout="constrained")
        _finish(axis, panel)
        drawn.append(
            f'<figure role="img" aria-label="{escape(f"{figure.title}: {panel.title}")}">{to_svg(canvas)}</figure>'
        )
    return f'<div class="panels">{"".join(drawn)}</div>'


def png_of(figure: Figure, columns: int = 2) -> bytes:
    """Its panels as one picture, `columns` beside each other."""
    panels = figure.panels
    lines = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [max(panel.height for panel in line) for line in lines]
    wide = min(columns, len(panels))
    canvas, axes = pyplot().subplots(
        len(lines), wide, figsize=(WIDTH * wide, sum(heights)), squeeze=False, layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    for line, row in zip(lines, axes, strict=True):
        for panel, axis in zip(line, row, strict=False):
            _finish(axis, panel)
        for axis in row[len(line) :]:
            axis.axis("off")
    found = to_png(canvas)
    pyplot().close(canvas)
    return found


def series_style(number: int) -> tuple[str, str]:
    """Colour and marker of a series; beyond eight they come again in other pairs."""
    turn, place = divmod(number, len(SERIES))
    return SERIES[place], MARKERS[(place + turn) % len(MARKERS)]


def short(text: str, longest: int = 34) -> str:
    """Text without its middle where it is long: the ends of models' names tell them apart."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def legend(axis: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Names below the chart, as many beside each other as there is room for."""
    columns = 2 if max(map(len, labels)) <= 16 else 1
    axis.legend(
        handles, [short(label, 20 if columns == 2 else 44) for label in labels], loc="upper center",
        bbox_to_anchor=(0.5, -0.2), ncols=columns, frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2,
        columnspacing=1.0, borderaxespad=0.2,
    )  # fmt: skip


def legend_height(labels: Sequence[str]) -> float:
    """Inches that `legend` takes."""
    columns = 2 if max(map(len, labels), default=0) <= 16 else 1
    return 0.17 * -(-len(labels) // columns) + 0.08 if labels else 0.0


def labels_of_axes(axis: Any, x: str, y: str = "") -> None:
    """Names of the axes."""
    axis.set_xlabel(x, fontsize=8.5, color=MUTED)
    if y:
        axis.set_ylabel(y, fontsize=8.5, color=MUTED)


def _finish(axis: Any, panel: Panel) -> None:
    axes_style(axis)
    panel.draw(axis)
    axis.set_title(short(panel.title, 52), loc="left", fontsize=9.5, color=INK)
