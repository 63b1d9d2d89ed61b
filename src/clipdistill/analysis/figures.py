"""Figures of an analysis, after CLIP-TD's figures 2 to 4: curves over layers, heat-maps of heads, words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clipdistill.report.figures import COLOURS, GRID, INK, MUTED, pyplot

ROLE_COLOURS = {"before": COLOURS["control"], "after": COLOURS["student"], "scores": COLOURS["teacher"]}
WORDS_A_LINE = 13
WIDTH = 4.9
"""Inches; a figure that is wider can't be read on a telephone."""


def layer_figure(layers: Mapping[str, np.ndarray]) -> Any:
    """Importance of text and vision by layer, the difference shaded (figure 3).

    layers: role -> [runs, L, 3]; lines are means, bars on them the least and the most of several runs.
    """
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(WIDTH, 3.3))
    for role, values in layers.items():
        colour = ROLE_COLOURS[role]
        places = np.arange(values.shape[1])
        text, vision = values[..., 0], values[..., 1]
        lead = f"{role}: " if len(layers) > 1 else ""
        axis.plot(places, text.mean(0), color=colour, lw=1.7, marker="o", ms=4, label=f"{lead}text")
        axis.plot(places, vision.mean(0), color=colour, lw=1.7, marker="s", ms=4, ls="--", label=f"{lead}vision")
        axis.fill_between(places, text.mean(0), vision.mean(0), color=colour, alpha=0.13, lw=0)
        if len(values) > 1:
            for each in (text, vision):
                axis.vlines(places, each.min(0), each.max(0), color=colour, lw=1)
    axis.set_xticks(np.arange(max(values.shape[1] for values in layers.values())))
    axis.set_xlabel("layer", fontsize=8.5, color=MUTED)
    axis.set_ylabel("modality importance", fontsize=8.5, color=MUTED)
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", color=GRID, lw=0.6)
    _quiet(axis)
    figure.legend(loc="upper center", ncols=2, frameon=False, labelcolor=INK, fontsize=8.5)
    figure.tight_layout(rect=(0, 0, 1, 0.93 - 0.05 * (len(layers) - 1)))
    return figure


def head_figure(heads: Mapping[str, np.ndarray]) -> Any:
    """Heat-maps of vision (left) and text (right), a cell a layer and head, a row a role (figure 4).

    heads: role -> [L, H, 3]. All maps share one scale, from 0 to the largest cell.
    """
    plt = pyplot()
    from matplotlib.colors import LinearSegmentedColormap

    most = max(float(values[..., :2].max()) for values in heads.values())
    tall = max(0.9, *(0.16 * values.shape[0] for values in heads.values()))
    figure, axes = plt.subplots(len(heads), 2, figsize=(WIDTH, len(heads) * (tall + 0.75) + 0.35), squeeze=False)
    shade = LinearSegmentedColormap.from_list("importance", [f"{ROLE_COLOURS['scores']}00", ROLE_COLOURS["scores"]])
    image: Any = None
    for line, (role, values) in zip(axes, heads.items(), strict=True):
        for axis, name, place in zip(line, ("vision", "text"), (1, 0), strict=True):
            image = axis.imshow(values[..., place], cmap=shade, vmin=0, vmax=most, aspect="auto", interpolation="none")
            lead = f"{role}: " if len(heads) > 1 else ""
            axis.set_title(f"{lead}{name}", loc="left", fontsize=9.5, color=INK)
            axis.set_xticks(range(values.shape[1]))
            axis.set_yticks(range(values.shape[0]))
            axis.set_xlabel("head", fontsize=8, color=MUTED)
            axis.set_ylabel("layer", fontsize=8, color=MUTED)
            _quiet(axis)
            for spine in axis.spines.values():
                spine.set_visible(True)
    figure.tight_layout(rect=(0, 0, 0.91, 1))
    bar = figure.colorbar(image, cax=figure.add_axes((0.925, 0.2, 0.018, 0.6)))
    bar.ax.tick_params(labelsize=7, colors=MUTED, length=0)
    bar.outline.set_visible(False)
    return figure


def word_figure(entry: Mapping[str, Any]) -> Any:
    """The words of a question, shaded by attention and by the teacher's scores, a row each (figure 2)."""
    plt = pyplot()
    rows = word_rows(entry)
    words: Sequence[str] = entry["words"]
    lines = [range(start, min(start + WORDS_A_LINE, len(words))) for start in range(0, len(words), WORDS_A_LINE)]
    figure, axes = plt.subplots(len(lines), 1, figsize=(7.2, len(lines) * (0.27 * len(rows) + 0.35)), squeeze=False)
    for axis, line in zip(axes[:, 0], lines, strict=True):
        axis.set_xlim(0, WORDS_A_LINE)
        axis.set_ylim(len(rows), 0)
        axis.axis("off")
        for number, (label, role, values) in enumerate(rows):
            most = max((value for value in values if value), default=1.0)
            axis.text(-0.1, number + 0.5, label, ha="right", va="center", fontsize=7.5, color=MUTED)
            for column, place in enumerate(line):
                share = (values[place] or 0.0) / most
                box = plt.Rectangle((column, number), 1, 0.92, facecolor=ROLE_COLOURS[role], alpha=0.85 * share, lw=0)
                axis.add_patch(box)
                size = min(8.0, 46 / max(len(words[place]), 5))
                axis.text(column + 0.5, number + 0.47, words[place], ha="center", va="center", fontsize=size, color=INK)
    figure.tight_layout(rect=(0.12, 0, 1, 1))
    return figure


def word_rows(entry: Mapping[str, Any]) -> list[tuple[str, str, list[float | None]]]:
    """(what it is, whose colour, values) of each row of words, in the order of figure 2."""
    attention, lone = entry["attention"], len(entry["attention"]) == 1
    rows: list[tuple[str, str, list[float | None]]] = []
    if "before" in attention:
        rows.append(("attention before", "before", attention["before"]))
    if "scores" in entry:
        rows.append(("word selection", "scores", entry["scores"]))
    if "after" in attention:
        rows.append(("attention" if lone else "attention after", "after", attention["after"]))
    return rows


def _quiet(axis: Any) -> None:
    axis.tick_params(colors=MUTED, labelsize=7.5, length=0)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
