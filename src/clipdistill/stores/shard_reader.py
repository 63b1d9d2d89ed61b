"""Reading one rank's folder of a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.stores.arrays import ArraySpec, digest, open_rows

AGAIN = "delete it and run `clipdistill cache` again"


class ShardReader:
    """One finished shard, open for reading.

    Attributes:
        ids: of its n samples.  offsets: int64 [n + 1], which text rows belong to each.
        arrays: name -> memory map [rows, width].
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        facts = read_shard(folder)
        if facts is None or not facts["finished"]:
            raise UserError(f"{folder}: this part of the store is missing or unfinished; run `clipdistill cache` again")
        self.ids: list[str] = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        self.offsets: np.ndarray = np.load(folder / "captions.npy")
        self.specs = [ArraySpec(**spec) for spec in facts["arrays"]]
        self.arrays = {spec.name: open_rows(folder, spec) for spec in self.specs}
        if len(self.ids) != facts["rows"] or len(self.offsets) != facts["rows"] + 1:
            raise UserError(f"{folder}: ids.json or captions.npy don't fit shard.json; {AGAIN}")

    def verify(self) -> None:
        """Read all of it; raise a UserError that names the first damaged file."""
        covered = {spec.name: 0 for spec in self.specs}
        arrays = {spec.name: open_rows(self.folder, spec) for spec in self.specs}  # afresh: the size may have changed
        for line in {line["unit"]: line for line in read_log(self.folder / "blocks.jsonl")}.values():
            for name, (start, count, expected) in line["digests"].items():
                block = np.asarray(arrays[name][start : start + count])
                if digest(block) != expected or not np.isfinite(block).all():
                    raise UserError(f"{self.folder / name}: rows {start} to {start + count} are damaged; {AGAIN}")
                covered[name] += count
        for spec in self.specs:
            if covered[spec.name] != spec.rows:
                raise UserError(f"{self.folder / 'blocks.jsonl'}: blocks of {spec.file} are missing; {AGAIN}")


def read_shard(folder: Path) -> dict[str, Any] | None:
    """Return the content of `shard.json`, None when there is none.

    Raises:
        UserError: it isn't what this version writes.
    """
    path = folder / "shard.json"
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["finished"], found["version"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a teacher store's file; choose another folder or delete this one") from None
    return found


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a block log, up to one that a killed process left torn."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
