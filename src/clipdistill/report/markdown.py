"""The report as Markdown, with its pictures in a folder beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdistill.files import atomic_path
from clipdistill.report import beside_paper, by_epoch, confusion, content, figures
from clipdistill.report.content import Table
from clipdistill.report.metric_table import metric_notes, metric_table
from clipdistill.report.next_steps import next_steps
from clipdistill.report.region_pictures import regions_of
from clipdistill.report.tables import Group
from clipdistill.report.words import headline


def markdown_report(title: str, groups: Sequence[Group], folder: Path) -> str:
    """Return the report's Markdown; its pictures are written to `folder`/report_files."""
    files = folder / "report_files"
    parts = [f"# {escape(title)}"]
    if len(groups) > 1:
        parts += ["## Runs compared", table(content.overview_table(groups)), "Values in per cent (gain in points)."]
    for number, group in enumerate(groups):
        parts += _group(group, files, number, "##" if len(groups) > 1 else "")
    return "\n\n".join(part for part in parts if part) + "\n"


def _group(group: Group, files: Path, number: int, heading: str) -> list[str]:
    parts = [f"{heading} {escape(group.title)}"] if heading else []
    parts += [f"{escape(str(group.runs[0].recipe.get('about') or ''))}"]
    parts += ["\n".join(f"- {escape(sentence)}" for sentence in headline(group))]
    parts += [f"Measured over {group.seeds}." + (" Mean ± standard deviation." if len(group.runs) > 1 else "")]
    if group.rows:
        parts += ["### Results", table(metric_table(group))]
        parts += [escape(note) for note in (*metric_notes(group), content.repeated_texts_note(group))]
    if group.roles:
        parts += ["### What each model costs", table(content.cost_table(group))]
    parts += _next(group)
    paper = beside_paper.paper_numbers(group)
    if isinstance(paper, str):
        parts += [escape(paper)]
    elif paper:
        parts += ["### Beside the paper", table(paper[1]), escape(beside_paper.paper_note(paper[0]))]
        parts += [escape(beside_paper.paper_caution(paper[1]))]
    training = content.training_table(group)
    loss = figures.loss_figure(group)
    if training or loss is not None:
        parts += ["### Training", table(training) if training else ""]
    if loss is not None:
        parts += [_picture(loss, files / f"loss-{number}.png", "Loss curves")]
    if (epochs := by_epoch.epoch_table(group)) is not None:
        parts += ["### Epoch by epoch", table(epochs)]
        if (line := by_epoch.epoch_figure(group)) is not None:
            parts += [_picture(line, files / f"epochs-{number}.png", "The student after each epoch")]
    sheet, leak = regions_of([run.path for run in group.runs])
    if sheet or leak:
        parts += ["### Regions and targets", escape(leak)]
    if sheet:
        with atomic_path(files / f"regions-{number}.png") as temporary:
            temporary.write_bytes(sheet)
        parts += [f"![Regions]({files.name}/regions-{number}.png)"]
    for place, data in enumerate(content.confusion_sets(group)):
        figure = confusion.confusion_figure(group, data)
        if figure is not None:
            parts += ["### Confusion"] if place == 0 else []
            picture = _picture(figure, files / f"confusion-{number}-{place}.png", data)
            if confusion.is_large(group, data):  # a link to what can't be read at a glance
                picture = picture.replace(f"![{escape(data)}]", "[The matrices of all classes]", 1)
            parts += [f"**{escape(data)}**", escape(confusion.mistakes_note(group, data)), picture]
    example = next((run.examples for run in group.runs if run.examples), None)
    if example:
        parts += ["### Retrieval examples", escape(content.examples_note(example))]
        parts += [_examples(example, group, files, number)]
    parts += ["### Where this comes from", escape(content.left_out_note(group))]
    for run in group.runs:
        pairs = "; ".join(f"{name} {value}" for name, value in content.provenance(run))
        parts += [f"- {escape(run.name)}: {escape(pairs)}"]
    return parts


def _next(group: Group) -> list[str]:
    parts = []
    for step in next_steps(group):
        said = step.said.split("`")
        parts += ["".join(f"`{part}`" if at % 2 else escape(part) for at, part in enumerate(said))]
        parts += [f"```{step.language}\n{step.code}\n```"] if step.code else []
    return ["### What next", *parts] if parts else []


def table(found: Table) -> str:
    """Return a Markdown table, numbers to the right."""
    rule = ["---" if column < found.numbers else "---:" for column in range(len(found.header))]
    return "\n".join(
        f"| {' | '.join(cells)} |" for cells in ([escape(c) for c in found.header], rule, *_escaped(found))
    )


def escape(text: str) -> str:
    """Return `text` safe inside a Markdown line or table cell: no HTML, no cell ends, no line ends."""
    plain = html.escape(" ".join(text.split()), quote=False)
    for sign in ("\\", "|", "*", "_", "`", "[", "]"):
        plain = plain.replace(sign, "\\" + sign)
    return plain


def _escaped(found: Table) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in found.rows]


def _picture(figure: Any, path: Path, label: str) -> str:
    with atomic_path(path) as temporary:
        temporary.write_bytes(figures.to_png(figure))
    figures.close(figure)
    return f"![{escape(label)}]({path.parent.name}/{path.name})"


def _examples(found: Mapping[str, Any], group: Group, files: Path, number: int) -> str:
    names: dict[str, str] = {}
    for place, (key, jpeg) in enumerate(sorted(found["pictures"].items())):
        path = files / f"example-{number}-{place}.jpg"
        with atomic_path(path) as temporary:
            temporary.write_bytes(base64.b64decode(jpeg))
        names[key] = f"{files.name}/{path.name}"
    roles = content.example_roles(found, group)
    lines = [["query", "right picture", *roles], ["---"] * (len(roles) + 2)]
    for query in found["queries"]:
        cells = [escape(query["caption"]), _thumbnail(names, query["answer"])]
        for role in roles:
            outcome = query["models"].get(role)
            pictures = " ".join(_thumbnail(names, key) for key in outcome["found"]) if outcome else ""
            cells.append(f"rank {outcome['rank']:,}<br>{pictures}" if outcome else content.NO_MODEL)
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _thumbnail(names: Mapping[str, str], key: str) -> str:
    return f'<img src="{names[key]}" width="64" alt="">' if key in names else ""
