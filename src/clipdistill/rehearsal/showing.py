"""A rehearsal's table: what each stage took here, and what it will take in the real run."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from clipdistill.runs.plan import duration


def show(found: dict[str, Any], console: Console) -> None:
    """Print what `Rehearsal.to_dict` holds."""
    table = Table(title=f"rehearsal: {found['recipe']}", title_justify="left")
    table.add_column("stage")
    for column in ("here", "memory", "disk", "real run, on this machine", "memory", "disk"):
        table.add_column(column, justify="right")
    for row in found["stages"]:
        real = row["real"]
        told = ("", "", "") if real is None else (
            f"about {duration(real['seconds'])}", size(real["memory_bytes"]), size(real["disk_bytes"])
        )  # fmt: skip
        name = row["stage"] + (", stopped and resumed" if row["resumed"] else "")
        table.add_row(name, f"{row['seconds']:.1f} s", size(row["memory_bytes"]), size(row["disk_bytes"]), *told)
    console.print(table)
    for note in found["notes"]:
        console.print(f"differs: {note}", highlight=False, markup=False)
    if found["failed"] is not None:
        failed = found["failed"]
        console.print(f"failed: {failed['stage']}: {failed['reason']}", highlight=False, markup=False, soft_wrap=True)
    else:
        console.print(
            f"every stage of {found['recipe']} ran to its end, in {duration(found['seconds'])} and "
            f"{size(max(row['memory_bytes'] for row in found['stages']))} of memory", highlight=False, soft_wrap=True
        )  # fmt: skip


def size(count: float) -> str:
    """`3.2e9` -> `3.2 GB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
