"""The shards of a store, one a rank: where rows lie by the log of blocks, and how shards become one store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import write_json
from clipdistill.stores.arrays import AGAIN, ArraySpec, digest, open_rows
from clipdistill.stores.damage import broken_blocks
from clipdistill.stores.facts import facts_digest, not_as_written, read_facts, require_same
from clipdistill.stores.log import Line, read_lines

MEND = "`clipdistill doctor --verify {path} --mend` takes out what is, and the command that wrote it writes that again"


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
        self._rows: np.ndarray | None = None
        self._base = np.array(
            [[own[view, block]["arrays"][spec.name][0] for block in blocks] for view in range(views)], np.int64
        )
        if spec.counted is not None:
            self._slots = _running([own[0, block]["slots"][spec.counted] for block in blocks])
        if spec.ragged:
            self._rows = np.stack([_running([own[v, b]["counts"][spec.name] for b in blocks]) for v in range(views)])

    def slots(self, samples: np.ndarray) -> np.ndarray:
        """How many slots each sample has, int64 [B]."""
        if self._slots is None:
            return np.ones(len(samples), np.int64)
        counts: np.ndarray = self._slots[samples + 1] - self._slots[samples]
        return counts

    def find(self, samples: np.ndarray, slots: Any = 0, views: Any = 0) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows, int64 [B] each, of slot `slots` (and view `views`) of samples [B]."""
        block = samples // self._block_rows
        head = block * self._block_rows
        slot = samples + slots
        if self._slots is not None:
            slot, head = self._slots[samples] + slots, self._slots[head]
        base = self._base[views, block]
        if self._rows is None:
            return base + slot - head, np.ones(len(samples), np.int64)
        first = self._rows[views, slot]
        return base + first - self._rows[views, head], self._rows[views, slot + 1] - first


def _running(blocks: Sequence[Sequence[int]]) -> np.ndarray:
    """Counts, block after block -> how many lie before each, int64 [n + 1]."""
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), *(np.asarray(block, np.int64) for block in blocks)]))


class Shard:
    """One rank's finished folder, open for reading.

    Attributes:
        ids: of its n samples. arrays: name -> memory map [rows, width]. layouts: name -> where rows lie in it.
        notes: block -> what was written beside it as JSON. block_rows: samples a block.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        facts = read_facts(folder / "shard.json")
        with not_as_written(folder / "shard.json"):
            self._open(facts)

    def _open(self, facts: dict[str, Any] | None) -> None:
        folder = self.folder
        if facts is None or not facts["shard"]["finished"]:
            raise UserError(f"{folder}: this part of the store is missing or unfinished; run `clipdistill cache` again")
        own, views = facts["shard"], int(facts.get("views", 1))
        self.ids = _read_ids(folder / "ids.json", own)
        self._log: str = own["log"]
        lines = self._read_log()
        self.block_rows = int(own["block_rows"])
        self.specs = {spec["name"]: ArraySpec(**spec) for spec in facts["arrays"]}
        self.notes = {line["block"]: line["notes"] for line in lines if "notes" in line}
        self._rows: dict[str, int] = own["rows"]
        self._require_sound(lines, sample=True)
        self.arrays = {name: open_rows(folder, spec, self._rows[name]) for name, spec in self.specs.items()}
        self.layouts = {
            name: Layout(folder, spec, lines, len(self.ids), self.block_rows, views)
            for name, spec in self.specs.items()
        }

    def verify(self) -> None:
        """Read all of it; raise a UserError that names the first damaged file."""
        self._require_sound(self._read_log())

    def _require_sound(self, lines: Sequence[Line], *, sample: bool = False) -> None:
        for name, spec in self.specs.items():
            open_rows(self.folder, spec, self._rows[name])  # its size is looked at
        for damage in broken_blocks(self.folder, self.specs, lines, sample=sample):
            raise UserError(f"{damage}; {MEND.format(path=self.folder.parent)}")

    def _read_log(self) -> list[dict[str, Any]]:
        path = self.folder / "blocks.jsonl"
        content = path.read_bytes() if path.is_file() else b""
        if digest(content) != self._log:  # it says where rows are: a wrong one would give wrong targets
            raise UserError(f"{path}: damaged or missing; {AGAIN}")
        return read_lines(content)


def _read_ids(path: Path, own: dict[str, Any]) -> list[str]:
    content = path.read_bytes() if path.is_file() else b""
    if digest(content) != own.get("ids", digest(content)):  # stores that were written earlier have none
        raise UserError(f"{path}: damaged or missing; {MEND.format(path=path.parent.parent)}")
    try:
        ids: list[str] = json.loads(content)
    except ValueError:
        ids = []
    if len(ids) != own["samples"]:
        raise UserError(f"{path}: doesn't fit shard.json; {AGAIN}")
    return ids


def shard_folder(path: Path, rank: int, world_size: int) -> Path:
    """Return where rank `rank` writes."""
    return path / f"shard-{rank:05d}-of-{world_size:05d}"


def join(path: Path, world_size: int) -> bool:
    """Join the shards by writing `store.json`, if all are complete (nothing is copied); False if some aren't yet.

    Any rank may do it, and the last one will. Nothing opens as a store before this.
    """
    folders = [shard_folder(path, rank, world_size) for rank in range(world_size)]
    found = [read_facts(folder / "shard.json") for folder in folders]
    shards = [shard for shard in found if shard is not None and shard["shard"]["finished"]]
    if len(shards) < world_size:
        return False
    facts = {key: value for key, value in shards[0].items() if key != "shard"}
    for folder, shard in zip(folders, shards, strict=True):
        require_same(folder, shard, facts)
    own = [shard["shard"] for shard in shards]
    rows = {name: sum(one["rows"][name] for one in own) for name in own[0]["rows"]}
    bad = [entry for one in own for entry in one["bad"]]
    content = {**facts, "rows": rows, "bad": bad, "shards": [folder.name for folder in folders]}
    write_json(path / "store.json", content | {"digest": facts_digest(content)})
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
