"""The report as one HTML page that needs nothing else: styles, figures and pictures are inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clipdistill.report import beside_paper, by_epoch, confusion, content, figures
from clipdistill.report.content import Table
from clipdistill.report.metric_table import gain_text, metric_notes, metric_table
from clipdistill.report.next_steps import next_steps
from clipdistill.report.region_pictures import regions_of
from clipdistill.report.tables import Group, Row
from clipdistill.report.words import headline, headline_rows, percent

STYLE = Path(__file__).with_name("page.css")


def html_report(title: str, groups: Sequence[Group]) -> str:
    """Return the whole page."""
    body = []
    if len(groups) > 1:
        body.append(
            section("Runs compared", table(content.overview_table(groups), "overview"))
            + "<p class=note>Per cent, over the seeds; in brackets the gain in points over the run's own control.</p>"
        )
    body += [_group(group, many=len(groups) > 1) for group in groups]
    return page(title, body)


def page(title: str, body: Sequence[str]) -> str:
    """A whole page of sections."""
    header = f"<header><p class=kicker>clipdistill report</p><h1>{escape(title)}</h1></header>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{header}{''.join(body)}</main></body></html>\n"
    )


def escape(text: Any) -> str:
    """Return text for HTML, in elements and in quoted attributes."""
    return html.escape(str(text), quote=True)


def table(found: Table, kind: str = "") -> str:
    """Return an HTML table; the student's column and gains are marked for the style sheet."""
    classes = [_column_class(name, place, found.numbers) for place, name in enumerate(found.header)]
    head = "".join(f'<th class="{c}">{escape(name)}</th>' for c, name in zip(classes, found.header, strict=True))
    rows = []
    previous = ""
    for cells in found.rows:
        start = ' class="start"' if kind == "metrics" and cells[0] != previous else ""
        shown = ["" if kind == "metrics" and not start and i < 2 else cell for i, cell in enumerate(cells)]
        previous = cells[0]
        rows.append(
            f"<tr{start}>"
            + "".join(f'<td class="{c}{_sign(c, v)}">{escape(v)}</td>' for c, v in zip(classes, shown, strict=True))
            + "</tr>"
        )
    whole = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table class="{kind}">{whole}</table></div>'


def _column_class(name: str, place: int, numbers: int) -> str:
    kind = "gain" if name.startswith("gain over") else name if name in figures.COLOURS else ""
    return ("number " if place >= numbers else "") + kind


def _sign(kind: str, value: str) -> str:
    if not kind.endswith("gain"):
        return ""
    return " up" if value.startswith("+") else " down" if value.startswith("\N{MINUS SIGN}") else ""


def section(title: str, *inside: str) -> str:
    """A heading and what stands below it."""
    return f"<section><h3>{escape(title)}</h3>{''.join(inside)}</section>"


def _note(text: str) -> str:
    return f"<p class=note>{escape(text)}</p>" if text else ""


def _group(group: Group, many: bool) -> str:
    about = group.runs[0].recipe.get("about")
    parts = [f"<h2>{escape(group.title)}</h2>" if many else ""]
    parts += [f"<p class=about>{escape(about)}</p>" if about else ""]
    parts += [f"<ul class=lead>{''.join(f'<li>{escape(sentence)}</li>' for sentence in headline(group))}</ul>"]
    parts += [f"<div class=cards>{''.join(_card(row, group) for row in headline_rows(group))}</div>"]
    spread = " Values are mean ± standard deviation over the seeds." if len(group.runs) > 1 else ""
    if group.rows:
        notes = [*metric_notes(group), content.repeated_texts_note(group)]
        notes[0] += f" Measured over {group.seeds}.{spread}"
        metrics = table(metric_table(group), "metrics")
        parts += [section("Results", metrics, *map(_note, notes))]
    if group.roles:
        parts += [section("What each model costs", table(content.cost_table(group)))]
    parts += [_next(group), _paper(group), _training(group), _regions(group), _confusion(group)]
    examples = next((run.examples for run in group.runs if run.examples), None)
    if examples:
        parts += [section("Retrieval examples", _note(content.examples_note(examples)), _examples(examples, group))]
    return "".join([*parts, _provenance(group)])


def _card(row: Row, group: Group) -> str:
    """One headline metric as bars, teacher to student."""
    bars = []
    for role in group.roles:
        if role in row.values:
            width = max(0.0, min(100.0, 100 * row.values[role].mean))
            bars.append(
                f'<div class="bar {escape(role.rstrip("0123456789"))}"><span>{escape(role)}</span><i>'
                f'<b style="width:{width:.1f}%"></b></i><em>{escape(percent(row.values[role]))}</em></div>'
            )
    gain = ""
    if row.gain is not None:
        text = gain_text(row)
        gain = f"<p class='gain{_sign('gain', text)}'>{escape(text)} points over the {escape(group.reference)}</p>"
    return f"<div class=card><h4>{escape(row.label)} <small>{escape(row.data)}</small></h4>{''.join(bars)}{gain}</div>"


def _paper(group: Group) -> str:
    paper = beside_paper.paper_numbers(group)
    if paper is None:
        return ""
    if isinstance(paper, str):
        return section("Beside the paper", _note(paper))
    facts, rows = paper
    notes = _note(beside_paper.paper_note(facts)) + _note(beside_paper.paper_caution(rows))
    return section("Beside the paper", table(rows), notes)


def _training(group: Group) -> str:
    training, figure = content.training_table(group), figures.loss_figure(group)
    inside = [table(training)] if training else []
    if figure is not None:
        inside.append(figures.to_svg(figure))
        if len(group.runs) > 1:
            inside.append(_note("Lines: the mean over the seeds of a running mean. Bands: from the least to the most."))
    found = section("Training", *inside) if inside else ""
    epochs, line = by_epoch.epoch_table(group), by_epoch.epoch_figure(group)
    if epochs is None:
        return found
    note = _note("The student after each epoch, per cent. The last one is the run's student.")
    return found + section("Epoch by epoch", table(epochs), figures.to_svg(line) if line is not None else "", note)


def _regions(group: Group) -> str:
    sheet, leak = regions_of([run.path for run in group.runs])
    inside = [_note(leak)] if leak else []
    if sheet:
        data = base64.b64encode(sheet).decode()
        inside.append(
            f'<img alt="regions drawn over pictures" style="max-width:100%" src="data:image/png;base64,{data}">'
        )
    return section("Regions and targets", *inside) if inside else ""


def _confusion(group: Group) -> str:
    """Matrices of few classes stand open, the first of them; large ones are folded, with their mistakes in words."""
    shown: list[str] = []
    opened = False
    for data in content.confusion_sets(group):
        figure = confusion.confusion_figure(group, data)
        if figure is None:
            continue
        large, note = confusion.is_large(group, data), _note(confusion.mistakes_note(group, data))
        open_ = "" if large or opened else " open"
        opened = opened or bool(open_)
        matrix = f"<summary>{escape(data)}{': matrices' if large else ''}</summary>{figures.to_svg(figure)}"
        if large:
            shown.append(f"<h4 class=apart>{escape(data)}</h4>{note}<details>{matrix}</details>")
        else:
            shown.append(f"<details{open_}>{matrix}{note}</details>")
    explain = _note(
        "Rows: the true class. Columns: what the model took it for. "
        "The colour grows with the square root of the share, so that rare mistakes can be seen."
    )
    return section("Confusion", explain, *shown) if shown else ""


def _next(group: Group) -> str:
    inside = [
        f"<p>{ticks(step.said)}</p>" + (f"<pre>{escape(step.code)}</pre>" if step.code else "")
        for step in next_steps(group)
    ]
    return section("What next", *inside) if inside else ""


def ticks(text: str) -> str:
    """HTML of a sentence in which code stands in backticks."""
    return "".join(
        f"<code>{escape(part)}</code>" if at % 2 else escape(part) for at, part in enumerate(text.split("`"))
    )


def _examples(found: Mapping[str, Any], group: Group) -> str:
    roles = content.example_roles(found, group)
    rows = []
    for query in found["queries"]:
        cells = [
            f"<div class=query><q>{escape(query['caption'])}</q></div>"
            f"<figure><figcaption>right picture</figcaption>{_picture(found, query['answer'], False)}</figure>"
        ]
        for role in roles:
            outcome = query["models"].get(role)
            if outcome:
                pictures = "".join(_picture(found, key, key == query["answer"]) for key in outcome["found"])
                hit = " hit" if outcome["rank"] == 1 else ""
                cells.append(
                    f'<figure><figcaption class="{escape(role.rstrip("0123456789"))}">{escape(role)} '
                    f'<span class="rank{hit}">rank {outcome["rank"]:,}</span></figcaption>'
                    f"<div class=strip>{pictures}</div></figure>"
                )
        rows.append(f"<div class=example>{''.join(cells)}</div>")
    return "".join(rows)


def _picture(found: Mapping[str, Any], key: str, right: bool) -> str:
    jpeg = found["pictures"].get(key)
    if jpeg is None:
        return ""
    mark = ' class="right"' if right else ""
    return f'<img{mark} src="data:image/jpeg;base64,{escape(jpeg)}" alt="{"the right picture" if right else ""}">'


def _provenance(group: Group) -> str:
    inside = [_note(content.left_out_note(group))]
    for run in group.runs:
        pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in content.provenance(run))
        recipe = escape(yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True)) if run.recipe else ""
        inside.append(
            f"<details><summary>{escape(run.path.name)} \N{MIDDLE DOT} seed {escape(run.seed)}</summary>"
            f"<dl>{pairs}</dl>{f'<pre>{recipe}</pre>' if recipe else ''}</details>"
        )
    return section("Where this comes from", *inside)
