"""Rehearse the full-size recipes that come with the package, for `make rehearse`: a line each; code 1 if any failed.

    python scripts/rehearse_recipes.py [PATTERN ...]

Patterns such as `clip_kd/*` choose some; without one all are rehearsed that aren't of the petri world or of real
pictures, which run on a laptop as they are. Each is a process of its own, `clipdistill train NAME --rehearse`. Models
that don't fit into MEMORY gigabytes (24, or 75 % of what is free where that is less) are made smaller, which is said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

MEMORY, SHARE = 24.0, 0.75
AS_THEY_ARE = ("petri/*", "real/*")


def chosen(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Names that a pattern fits, or all full-size ones."""
    if patterns:
        return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in AS_THEY_ARE)]


def memory() -> float:
    """Gigabytes that a rehearsal may take."""
    import psutil

    given = os.environ.get("MEMORY")
    return float(given) if given else min(MEMORY, SHARE * psutil.virtual_memory().available / 1e9)


def rehearsed(name: str, limit: float) -> tuple[dict[str, Any] | None, str]:
    """What rehearsal.json says, or None, and the last line that the command said."""
    command = [
        sys.executable,
        "-m",
        "clipdistill.cli",
        "train",
        name,
        "--rehearse",
        "--rehearse-memory",
        f"{limit:.1f}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
        file = out / "rehearsal.json"
        return (json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None), lines[-1].strip()


def line(name: str, found: dict[str, Any] | None, said: str) -> tuple[bool, str]:
    """Whether every stage got to its end, and the recipe's line."""
    if found is None or found["failed"] is not None:
        why = said if found is None else f"{found['failed']['stage']}: {found['failed']['reason']}"
        return False, f"FAILED  {name}: {why}"
    peak = max(row["memory_bytes"] for row in found["stages"]) / 1e9
    smaller = [note for note in found["notes"] if "for want of memory" in note]
    more = "".join(f"; {note}" for note in smaller)
    return True, f"ok      {name}: {found['seconds']:.0f} s, {peak:.1f} GB{more}"


def main(patterns: Sequence[str]) -> int:
    """Rehearse, print, count."""
    from clipdistill.recipe_files import recipe_names

    names, failed = chosen(recipe_names(), patterns), []
    if not names:
        print(f"no recipe fits {', '.join(patterns)}", file=sys.stderr)
        return 2
    for name in names:
        good, told = line(name, *rehearsed(name, memory()))
        print(told, flush=True)
        failed += [] if good else [name]
    print(f"{len(names) - len(failed)} of {len(names)} recipes were rehearsed to their end")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
