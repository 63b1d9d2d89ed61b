"""The log of a store's shard, `blocks.jsonl`: a line for each block that is safe on the disk."""

from __future__ import annotations

import json
from typing import Any

Line = dict[str, Any]
"""A line of `blocks.jsonl`.

block, view: which samples, and which of their views (0 where no array is keyed by views).
arrays: name -> [first row, rows, digest].  slots: counts' name -> how many slots each sample has.
counts: ragged array -> how many rows each slot has.  notes: whatever belongs to the block, as JSON.
bad: samples that couldn't be read: id, reason.  again: true where it was found damaged.
"""


def read_lines(content: bytes) -> list[Line]:
    """Return the lines of a block log, up to one that a killed process left torn."""
    lines = []
    for text in content.splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
