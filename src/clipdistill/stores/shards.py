"""The shards of a store, one a rank: where they lie, how one is read, and how they become one store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import write_json
from clipdistill.stores.arrays import AGAIN, ArraySpec, digest, open_rows
from clipdistill.stores.facts import require_same
from clipdistill.stores.index import Layout, read_lines, read_shard


class Shard:
    """One rank's finished folder, open for reading.

    Attributes:
        ids: of its n samples. arrays: name -> memory map [rows, width]. layouts: name -> where rows lie in it.
        notes: block -> what was written beside it as JSON. block_rows: samples a block.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        facts = read_shard(folder)
        if facts is None or not facts["shard"]["finished"]:
            raise UserError(f"{folder}: this part of the store is missing or unfinished; run `clipdistill cache` again")
        own, views = facts["shard"], int(facts.get("views", 1))
        self.ids: list[str] = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        if len(self.ids) != own["samples"]:
            raise UserError(f"{folder / 'ids.json'}: doesn't fit shard.json; {AGAIN}")
        self._log: str = own["log"]
        lines = self._read_log()
        self.block_rows = int(own["block_rows"])
        self.specs = {spec["name"]: ArraySpec(**spec) for spec in facts["arrays"]}
        self.notes = {line["block"]: line["notes"] for line in lines if "notes" in line}
        self._rows: dict[str, int] = own["rows"]
        self.arrays = {name: open_rows(folder, spec, self._rows[name]) for name, spec in self.specs.items()}
        self.layouts = {
            name: Layout(folder, spec, lines, len(self.ids), self.block_rows, views)
            for name, spec in self.specs.items()
        }

    def verify(self) -> None:
        """Read all of it; raise a UserError that names the first damaged file."""
        lines = self._read_log()
        arrays = {name: open_rows(self.folder, spec, self._rows[name]) for name, spec in self.specs.items()}
        for line in lines:
            for name, (start, count, expected) in line["arrays"].items():
                block = np.asarray(arrays[name][start : start + count])
                if digest(block.tobytes()) != expected or not np.isfinite(block).all():
                    raise UserError(f"{self.folder / name}: rows {start} to {start + count} are damaged; {AGAIN}")

    def _read_log(self) -> list[dict[str, Any]]:
        path = self.folder / "blocks.jsonl"
        content = path.read_bytes() if path.is_file() else b""
        if digest(content) != self._log:  # it says where rows are: a wrong one would give wrong targets
            raise UserError(f"{path}: damaged or missing; {AGAIN}")
        return read_lines(content)


def shard_folder(path: Path, rank: int, world_size: int) -> Path:
    """Return where rank `rank` writes."""
    return path / f"shard-{rank:05d}-of-{world_size:05d}"


def join(path: Path, world_size: int) -> bool:
    """Join the shards by writing `store.json`, if all are complete (nothing is copied); False if some aren't yet.

    Any rank may do it, and the last one will. Nothing opens as a store before this.
    """
    folders = [shard_folder(path, rank, world_size) for rank in range(world_size)]
    found = [read_shard(folder) for folder in folders]
    shards = [shard for shard in found if shard is not None and shard["shard"]["finished"]]
    if len(shards) < world_size:
        return False
    facts = {key: value for key, value in shards[0].items() if key != "shard"}
    for folder, shard in zip(folders, shards, strict=True):
        require_same(folder, shard, facts)
    own = [shard["shard"] for shard in shards]
    rows = {name: sum(one["rows"][name] for one in own) for name in own[0]["rows"]}
    bad = [entry for one in own for entry in one["bad"]]
    write_json(path / "store.json", {**facts, "rows": rows, "bad": bad, "shards": [folder.name for folder in folders]})
    return True


def refuse_other(path: Path, world_size: int) -> None:
    """Raise a UserError when a folder holds a store begun by another number of processes, or by an older version."""
    if (path / "begun.json").is_file():
        raise UserError(f"{path}: regions in the format of an older version; {AGAIN}")
    for folder in path.glob("shard-*-of-*"):
        begun = int(folder.name.rsplit("-", 1)[1])
        if begun != world_size:
            raise UserError(
                f"{path}: an unfinished store of {begun} processes, and this run has {world_size}; go on with as many, "
                "or delete the folder"
            )
