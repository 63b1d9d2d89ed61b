"""An analysis as one HTML page and as Markdown with PNG pictures beside it, in the style of reports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.analysis import figures, wording
from clipdistill.files import atomic_path, write_text
from clipdistill.report import html_page, markdown
from clipdistill.report.figures import close, to_png, to_svg
from clipdistill.report.html_page import escape

FILES = "analysis_files"


def write_pages(content: Mapping[str, Any], out: Path) -> None:
    """Write report.html and report.md of what analysis.json holds; pictures go to analysis_files/."""
    layers, heads = of_roles(content)
    curves, maps = figures.layer_figure(layers), figures.head_figure(heads)
    words = [(entry, figures.word_figure(entry)) for entry in content["words"]]
    _png(out, "layers", curves)
    _png(out, "heads", maps)
    for number, (_, figure) in enumerate(words):
        _png(out, f"words-{number}", figure)
        close(figure)
    title = f"What {content['models'][-1]['name']} attends to"
    write_text(out / "report.md", _markdown(title, content))
    write_text(out / "report.html", html_page.page(title, _html(content, to_svg(curves), to_svg(maps))))


def of_roles(content: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Role -> layers' values [runs, L, 3], and -> heads' values [L, H, 3], the mean over the runs."""
    layers: dict[str, list[np.ndarray]] = {}
    heads: dict[str, list[np.ndarray]] = {}
    for model in content["models"]:
        for found, name in ((layers, "layers"), (heads, "heads")):
            values = [np.array(model[name][each]) for each in ("text", "vision", "special")]
            found.setdefault(model["role"], []).append(np.stack(values, axis=-1))
    stacked = {role: np.stack(each) for role, each in layers.items()}
    return stacked, {role: np.stack(each).mean(axis=0) for role, each in heads.items()}


def _html(content: Mapping[str, Any], curves: str, maps: str) -> list[str]:
    def note(text: str) -> str:
        return f"<p class=note>{escape(text)}</p>" if text else ""

    lead = "".join(f"<li>{escape(sentence)}</li>" for sentence in wording.headline(content))
    table, section = html_page.table, html_page.section
    body = [f"<ul class=lead>{lead}</ul>"]
    if content["comparison"]:
        body.append(section("Before and after", table(wording.quoted_table(content)), note(wording.QUOTED)))
    body.append(
        section("Importance by layer", curves, table(wording.layer_table(content)), note(wording.spread(content)))
    )
    body.append(section("Importance by head", maps, note(wording.MAPS)))
    if content["words"]:
        shown = "".join(_words(entry) for entry in content["words"])
        body.append(section("Words", note(wording.words(content)), shown))
    if "ablation" in content["models"][0]:
        body.append(section("Without a modality", table(wording.ablation_table(content)), note(wording.ABLATION)))
    body.append(section("How it is counted", *[note(each) for each in wording.counting(content)]))
    body.append(
        section("Where this comes from", table(wording.sources_table(content)), note(wording.left_out(content)))
    )
    return body


def _words(entry: Mapping[str, Any]) -> str:
    """Text that wraps, each word shaded, a paragraph a row."""
    found = [f"<h4>{escape(entry['id'])}</h4>"]
    for label, role, values in figures.word_rows(entry):
        most = max((value for value in values if value), default=1.0)
        spans = []
        for word, value in zip(entry["words"], values, strict=True):
            share = 100 * 0.85 * (value or 0.0) / most
            shade = f"color-mix(in srgb, {figures.ROLE_COLOURS[role]} {share:.0f}%, transparent)"
            hint = "" if value is None else f' title="{value:.3f}"'
            spans.append(
                f'<span{hint} style="background:{shade};padding:2px 4px;border-radius:4px">{escape(word)}</span>'
            )
        picture = f" (picture {entry['picture'][role]:.2f})" if role in entry["picture"] else ""
        found.append(
            f'<p style="margin:0 0 2px"><small>{escape(label + picture)}</small></p>'
            f'<p style="margin:0 0 10px;line-height:2">{" ".join(spans)}</p>'
        )
    return f'<div class=card style="margin-top:12px">{"".join(found)}</div>'


def _markdown(title: str, content: Mapping[str, Any]) -> str:
    said, table = markdown.escape, markdown.table
    parts = [f"# {said(title)}", "\n".join(f"- {said(sentence)}" for sentence in wording.headline(content))]
    if content["comparison"]:
        parts += ["## Before and after", table(wording.quoted_table(content)), said(wording.QUOTED)]
    parts += ["## Importance by layer", f"![Importance of text and vision by layer]({FILES}/layers.png)"]
    parts += [table(wording.layer_table(content)), said(wording.spread(content))]
    parts += ["## Importance by head", f"![Importance by layer and head]({FILES}/heads.png)", said(wording.MAPS)]
    if content["words"]:
        parts += ["## Words", said(wording.words(content))]
        for number, entry in enumerate(content["words"]):
            parts += [f"{said(entry['id'])}", f"![Attention on words]({FILES}/words-{number}.png)"]
    if "ablation" in content["models"][0]:
        parts += ["## Without a modality", table(wording.ablation_table(content)), said(wording.ABLATION)]
    parts += ["## How it is counted", *[said(each) for each in wording.counting(content)]]
    parts += ["## Where this comes from", table(wording.sources_table(content)), said(wording.left_out(content))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _png(out: Path, name: str, figure: Any) -> None:
    with atomic_path(out / FILES / f"{name}.png") as temporary:
        temporary.write_bytes(to_png(figure))
