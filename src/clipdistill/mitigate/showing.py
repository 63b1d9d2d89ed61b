"""What `mitigate` and `bias` print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from clipdistill.mitigate.text_bias import SHOWN

GROUPS = {"all": "all", "im": "kept by IM", "im_left_out": "left out by IM"}


def show_summary(summary: Mapping[str, Any]) -> None:
    """The numbers of a summary, a line each, and where the file lies."""
    print(f"{summary['kind']}: {summary['kept']:,} questions kept, {summary['dropped']:,} dropped")
    options = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary["changed_options"].items())
    print(f"changed: {summary['changed_questions']:,} questions ({options}), {summary['changes']:,} changes")
    for name in ("unreplaced", "answered_right_by_text", "language_biased", "image_biased", "kept_though_right"):
        if name in summary:
            print(f"{name.replace('_', ' ')}: {summary[name]:,}")
    for reason, count in list(summary["dropped_by_reason"].items())[:3]:
        print(f"dropped: {count:,}: {reason}")
    print(summary["pictures"])
    print(summary["file"])


def show_bias(found: Mapping[str, Any]) -> None:
    """Table 9 measured, with the paper's printed numbers, which are of VCR's validation set, beside it."""
    table = Table(title=f"text bias of {found['data']}; in brackets CLIP-TD's table 9, of VCR", title_justify="left")
    for column in ("questions", "answers", "n", "question: tokens", "more %", "labels: tokens", "more %"):
        table.add_column(column, justify="left" if column in ("questions", "answers") else "right")
    for group, label in GROUPS.items():
        for row in ("wrong", "right"):
            if group in found:
                printed = found["paper"].get(group, {}).get(row, {})
                cells = [
                    f"{found[group][row][name]:.2f}" + (f" ({printed[name]:.2f})" if name in printed else "")
                    for name in SHOWN
                ]
                table.add_row(label, row, f"{found[group]['n']:,}", *cells)
    Console().print(table)
    for group, label in GROUPS.items():
        if group in found:
            tags, words = found[group]["tag_baseline"], found[group]["word_baseline"]
            print(
                f"{label}: the answer that shares most with its question is right: {words:.1f} %; by tags {tags:.1f} %"
            )
