"""What `cka` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from clipdistill.evaluate.likeness.comparing import same_depth
from clipdistill.running import terminal


def show_cka(content: Mapping[str, Any]) -> None:
    """Print a table of the layers and one of the embeddings, and what couldn't be compared."""
    console = terminal()
    student, teacher = content["student"], content["teacher"]
    batches, bad = content["batches"], len(content["left_out"])
    print(
        f"{student['name']} beside {teacher['name']} on {content['images']:,} pictures of {content['data']}"
        f" ({'all at once' if batches == 1 else f'in {batches} batches'}{f'; {bad} left out' if bad else ''})"
    )
    if student["layers"]:
        console.print(layer_table(content))
    console.print(output_table(content))
    for sentence in remarks(content):
        print(sentence)


def layer_table(content: Mapping[str, Any]) -> Table:
    """Each layer of the student, beside the teacher's of the same depth and the one that it is most like."""
    student, teacher = content["student"]["layers"], content["teacher"]["layers"]
    pooled = {"mean": "mean over patches", "flat": "place by place"}[content["settings"]["pool"]]
    table = Table(title=f"linear CKA of layers ({pooled}), 95 % over pictures", title_justify="left")
    for place, name in enumerate(("student", "shape", "teacher, same depth", "CKA", "most like teacher's", "CKA")):
        table.add_column(name, justify="right" if place in (3, 5) else "left")
    for row, layer in enumerate(student):
        values = content["cka"]["value"][row][:-1]
        known = [column for column, value in enumerate(values) if value is not None]
        beside = same_depth(row, len(student), len(teacher))
        most = max(known, key=lambda column: values[column]) if known else None
        table.add_row(
            layer["name"], _shape(layer), teacher[beside]["name"], cell(content["cka"], row, beside),
            *(("", "") if most is None else (teacher[most]["name"], cell(content["cka"], row, most))),
        )  # fmt: skip
    return table


def output_table(content: Mapping[str, Any]) -> Table:
    """The embeddings: CKA, and how they lie on the sphere."""
    table = Table(title="embeddings", title_justify="left")
    for place, name in enumerate(("", "student", "teacher", "both")):
        table.add_column(name, justify="right" if place else "left")
    table.add_row("width", *(str(content[role]["embed_dim"]) for role in ("student", "teacher")), "")
    table.add_row("linear CKA", "", "", cell(content["cka"], -1, -1))
    table.add_row("linear CKA at length 1", "", "", cell(content["unit"], -1, -1))
    if spread := content["spread"]:
        for name in ("alignment", "image_uniformity", "text_uniformity"):
            label = f"{name.replace('_', ' ')} (lower is more so)"
            table.add_row(label, *(_number(spread[role][name]) for role in ("student", "teacher")), "")
    return table


def remarks(content: Mapping[str, Any]) -> list[str]:
    """What couldn't be compared, and why; draws that had to be left out of an interval."""
    found = []
    for role in ("student", "teacher"):
        names = [*(layer["name"] for layer in content[role]["layers"]), "embedding"]
        for name, under in zip(names, content["cka"][role], strict=True):
            if not under or under <= 0:
                found.append(f"{role}: {name} doesn't vary over the pictures, so there is no CKA with it")
    most = max(max(row) for row in content["cka"]["undefined"])
    if most:
        draws = content["settings"]["draws"]
        found.append(
            f"in up to {most} of {draws} draws of pictures a denominator wasn't positive; intervals are without them"
        )
    if all(low is None for row in content["cka"]["low"] for low in row) and content["settings"]["draws"]:
        found.append("no intervals: they need 5 pictures in every batch")
    return found


def cell(table: Mapping[str, Sequence[Sequence[float | None]]], row: int, column: int) -> str:
    """`0.412 (0.380 to 0.441)`; `none` where it is undefined."""
    value, low, high = (table[name][row][column] for name in ("value", "low", "high"))
    if value is None:
        return "none"
    return _number(value) if low is None or high is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _shape(layer: Mapping[str, Any]) -> str:
    return f"{layer['channels']} x {layer['height']} x {layer['width']}"
