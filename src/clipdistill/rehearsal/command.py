"""`clipdistill train RECIPE --rehearse`: load, rehearse, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipdistill.errors import UserError
from clipdistill.recipe_files import load_recipe
from clipdistill.rehearsal.rehearsing import rehearse
from clipdistill.running import terminal


def rehearse_command(name: str, overrides: Sequence[str], out: Path | None, memory: float | None, other: bool) -> int:
    """Rehearse a recipe by name, print the table, and return the exit code.

    Args:
        out, memory: see `rehearse`. other: whether another way of training was asked for too.

    Raises:
        UserError: it was; or what `load_recipe` and `rehearse` raise.
    """
    if other:
        raise UserError("--rehearse: stands alone; leave --resume and --plan out")
    found = rehearse(load_recipe(name, overrides), out, memory=memory, console=terminal())
    return 0 if found.failed is None else 1
