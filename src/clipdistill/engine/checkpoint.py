"""Checkpoints: all that a run needs to go on bit for bit, written atomically, the last good ones kept."""

from __future__ import annotations

import pickle
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.files import atomic_path, require_space
from clipdistill.recipe_files import differences

FORMAT = 1
_UNREADABLE = (
    RuntimeError, EOFError, OSError, ValueError, KeyError, NotImplementedError, pickle.UnpicklingError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip

# What may change between a run and its continuation without changing what is trained.
FREE_KEYS = ("about", "name", "paper", "evaluate", "compare", "petri", "data.workers", "data.max_bad_share")
FREE_TRAIN_KEYS = ("checkpoint_every", "keep_checkpoints", "keep_epochs", "log_every", "trackers")


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write `folder/step-XXXXXXXX.pt`, then delete all but the `keep` newest.

    Raises:
        UserError: unwritable folder, full disk, or what was written can't be read; older checkpoints stay as they are.
    """
    path = folder / f"step-{step:08d}.pt"
    folder.mkdir(parents=True, exist_ok=True)
    need = sum(t.numel() * t.element_size() for t in _tensors(state))
    require_space(path, need, "a checkpoint")
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "step": step, **state}, temporary)
    drop_old(folder, keep)
    return path


def drop_old(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest checkpoints.

    Raises:
        UserError: the newest can't be read; the older ones stay as they are.
    """
    found = list_checkpoints(folder)
    if len(found) > keep:
        require_whole(found[-1])  # what is deleted can't be taken again, so what takes its place is looked at
    for one in found[:-keep]:
        one.unlink(missing_ok=True)


def drop_replaced(folder: Path, step: int, keep: int) -> None:
    """Delete what the checkpoint of `step` took the place of, if that is the newest: a kill may have come between."""
    if step_of(list_checkpoints(folder)[-1]) == step:
        drop_old(folder, keep)


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in `folder`, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def step_of(path: Path) -> int:
    """How many steps had been made when a checkpoint was written."""
    return int(path.stem.rpartition("-")[2])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one that is whole: a flipped bit isn't trained on.

    Raises:
        UserError: it is damaged, or can't be read.
    """
    require_whole(path)
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    return found


def require_whole(path: Path) -> None:
    """Raise a UserError when a checkpoint isn't what was written, by the checksum that each of its parts carries.

    Nothing is kept in memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes one, with a CRC of each part, and doesn't look at it
            broken = archive.testzip()
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    if broken is not None:
        raise UserError(f"{path}: damaged ({broken} isn't what was written)")


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: damaged ({next(iter(str(error).splitlines()), type(error).__name__)})")


def load_latest(folder: Path, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None when there is none. Each that can't is named on stderr.

    Args:
        recipe: the recipe of the run that wants to go on, as plain values.

    Raises:
        UserError: the checkpoint is of another recipe (the keys that differ are named), or no checkpoint can be read.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            state = read_checkpoint(path)
        except UserError as error:
            print(f"clipdistill: {error}; the one before it is taken", file=sys.stderr)
            continue
        if state.get("format") != FORMAT:
            raise UserError(f"{path}: written by another version of clipdistill; start again with a new --out")
        require_same_recipe(state["recipe"], recipe, path)
        return state
    if paths:
        raise UserError(f"{folder}: none of the {len(paths)} checkpoints can be read; start again with a new --out")
    return None


def require_same_recipe(old: Mapping[str, Any], new: Mapping[str, Any], where: Path) -> None:
    """Raise a UserError when two recipes, as plain values, would train differently; names the keys that differ."""
    changed = [key for key in differences(old, new) if not _free(key)]
    if changed:
        more = f" and {len(changed) - 6} more" if len(changed) > 6 else ""
        raise UserError(
            f"{where}: checkpoint of another recipe; these keys differ: {', '.join(changed[:6])}{more}. "
            "Resume with the recipe it was made with, or choose another --out"
        )


def _free(key: str) -> bool:
    if any(key == free or key.startswith(free + ".") for free in FREE_KEYS):
        return True
    return any(key == f"train.{free}" or key.startswith(f"train.{free}.") for free in FREE_TRAIN_KEYS)


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for inner in value.values() for t in _tensors(inner)]
    if isinstance(value, list | tuple):
        return [t for inner in value for t in _tensors(inner)]
    return []
