"""The index of a shard: a line for each block that is safe on the disk, and where the rows of a sample lie by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.stores.arrays import AGAIN, ArraySpec

Line = dict[str, Any]
"""A line of `blocks.jsonl`.

block, view: which samples, and which of their views (0 where no array is keyed by views).
arrays: name -> [first row, rows, digest].  slots: counts' name -> how many slots each sample has.
counts: ragged array -> how many rows each slot has.  notes: whatever belongs to the block, as JSON.
bad: samples that couldn't be read: id, reason.
"""


def read_shard(folder: Path) -> dict[str, Any] | None:
    """Return the content of `shard.json` (the facts of the store, and `shard`: this one's own), None without one.

    Raises:
        UserError: it isn't what this version writes.
    """
    path = folder / "shard.json"
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["version"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a store's file; choose another folder or delete this one") from None
    return found


def read_lines(content: bytes) -> list[Line]:
    """Return the lines of a block log, up to one that a killed process left torn."""
    lines = []
    for text in content.splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


class Layout:
    """Where the rows of one array lie in its file.

    Args:
        lines: of the shard's whole log. samples: of the shard. views: K for an array keyed by views, else 1.

    Raises:
        UserError: the log lacks a block.
    """

    def __init__(
        self, folder: Path, spec: ArraySpec, lines: Sequence[Line], samples: int, block_rows: int, views: int
    ) -> None:
        own = {(line["view"], line["block"]): line for line in lines if spec.name in line["arrays"]}
        blocks, views = range(-(-samples // block_rows)), views if spec.key == "view" else 1
        if len(own) != len(blocks) * views:
            raise UserError(f"{folder / 'blocks.jsonl'}: blocks of {spec.file} are missing; {AGAIN}")
        self._block_rows = block_rows
        self._slots: np.ndarray | None = None
        self._rows: list[np.ndarray] | None = None
        self._base = np.array(
            [[own[view, block]["arrays"][spec.name][0] for block in blocks] for view in range(views)], np.int64
        )
        if spec.counted is not None:
            self._slots = _running([own[0, block]["slots"][spec.counted] for block in blocks])
        if spec.ragged:
            self._rows = [_running([own[v, b]["counts"][spec.name] for b in blocks]) for v in range(views)]

    def slots(self, samples: np.ndarray) -> np.ndarray:
        """How many slots each sample has, int64 [B]."""
        if self._slots is None:
            return np.ones(len(samples), np.int64)
        return self._slots[samples + 1] - self._slots[samples]

    def find(self, samples: np.ndarray, slots: Any = 0, views: Any = 0) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows, int64 [B] each, of slot `slots` (and view `views`) of samples [B]."""
        block = samples // self._block_rows
        head = block * self._block_rows
        slot = samples + slots
        if self._slots is not None:
            slot, head = self._slots[samples] + slots, self._slots[head]
        views = np.broadcast_to(np.asarray(views, np.int64), samples.shape)
        if self._rows is None:
            return self._base[views, block] + slot - head, np.ones(len(samples), np.int64)
        first, count = np.zeros((2, len(samples)), np.int64)
        for view in np.unique(views):
            mine, run = views == view, self._rows[view]
            first[mine] = self._base[view, block[mine]] + run[slot[mine]] - run[head[mine]]
            count[mine] = run[slot[mine] + 1] - run[slot[mine]]
        return first, count


def _running(blocks: Sequence[Sequence[int]]) -> np.ndarray:
    """Counts, block after block -> how many lie before each, int64 [n + 1]."""
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), *(np.asarray(block, np.int64) for block in blocks)]))
