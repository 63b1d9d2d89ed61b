"""Where a rehearsal's files lie: all below one folder, at the paths that the recipe names them by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

APART = "elsewhere"
"""Below which whole paths lie, and those that lead upwards."""


def inside(path: str) -> str:
    """A recipe's path as it is below the rehearsal's folder: relative, and never above it."""
    plain = os.path.normpath(os.path.expandvars(os.path.expanduser(path)))
    if os.path.isabs(plain) or plain.startswith(".."):
        plain = os.path.join(APART, *(part for part in plain.split(os.sep) if part not in ("", "..")))
    return plain


def borrow(name: str, home: Path) -> bool:
    """Let a model of the user's that a recipe names by a relative path be found here too; nothing is copied.

    Its files are links in folders of our own, so that whatever is made beside them stays here. Checkpoints, and stores,
    which a rehearsal makes for itself, aren't taken along.

    Args:
        home: the folder that the command was given in.

    Returns:
        Whether there is one.
    """
    if not name or os.path.isabs(name) or ":" in name or ".." in Path(name).parts or not (home / name).exists():
        return False
    place, source = Path(name), (home / name).resolve()
    if place.exists():
        return True
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        place.symlink_to(source)
        return True
    for folder, below, files in os.walk(source):
        below[:] = [one for one in below if one != "checkpoints" and not os.path.exists(f"{folder}/{one}/store.json")]
        here = place / os.path.relpath(folder, source)
        here.mkdir(parents=True, exist_ok=True)
        for file in files:
            (here / file).symlink_to(os.path.join(folder, file))
    return True


def size_of(folder: Path) -> int:
    """Bytes below a folder; links are not followed."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(place, file)).st_size
            except OSError:
                continue  # a temporary file that is gone
    return total


def moved(value: Any) -> Any:
    """Whatever an option holds, its whole paths turned `inside`; other texts as they are."""
    if isinstance(value, str):
        return inside(value) if os.path.isabs(value) or value.startswith(("~", "../")) else value
    if isinstance(value, list):
        return [moved(each) for each in value]
    if isinstance(value, dict):
        return {key: moved(each) for key, each in value.items()}
    return value
