"""Writing a store: each rank its shard, block by block, each block safe on the disk before the log says so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import require_space, write_json, write_text
from clipdistill.locks import hold
from clipdistill.stores.arrays import ArraySpec, RowsFile, digest
from clipdistill.stores.damage import broken_blocks
from clipdistill.stores.facts import read_facts, require_same
from clipdistill.stores.log import Line, read_lines
from clipdistill.stores.shards import refuse_other, shard_folder

BLOCK_ROWS = 1024


class ShardWriter:
    """Writes one rank's shard; made anew or taken up where a killed run left it. Use it in a `with`.

    While another process writes the shard, this one waits, and then finds it done. Blocks go one behind the other into
    the files of their arrays, so that nothing but the log says where they are: a block that is written again, after a
    kill, lands where it would have been.

    Attributes:
        folder, facts: where it lies; what `shard.json` says.
        start, samples: position of its first sample in the store, and how many it has.
        blocks: row numbers of each block, within the shard. bad: ids of samples that couldn't be read -> reason.

    Args:
        path: the store's folder.
        facts: what all shards share: `version`, `kind`, `teacher`, `samples`, `world_size`, `views` (of keys "view").
        ids: ids of the store's samples.
        arrays: what the store holds.
        slots: counts' name (`caption`, `field choices`) -> how many slots the sample at a position has.
        rank: whose shard. block_rows: samples a block, when the shard is new.
        whole_blocks: shards of whole blocks, so that blocks are the same however many ranks write them.

    Raises:
        UserError: too little disk; the folder holds something else (says what differs) or can't be written.
    """

    def __init__(
        self,
        path: Path,
        facts: dict[str, Any],
        ids: Sequence[str],
        arrays: Sequence[ArraySpec],
        *,
        slots: Mapping[str, Callable[[int], int]] | None = None,
        rank: int = 0,
        block_rows: int = BLOCK_ROWS,
        whole_blocks: bool = False,
    ) -> None:
        world_size, unit = int(facts["world_size"]), block_rows if whole_blocks else 1
        units = -(-len(ids) // unit)
        cut = [min(len(ids), unit * (units * part // world_size)) for part in (rank, rank + 1)]
        self.start, self.samples, self._ids = cut[0], cut[1] - cut[0], list(ids[slice(*cut)])
        self.folder, self.specs = shard_folder(path, rank, world_size), {spec.name: spec for spec in arrays}
        self._slots = {
            name: np.fromiter(map(count, range(*cut)), np.int64, self.samples) for name, count in (slots or {}).items()
        }
        refuse_other(path, world_size)
        begun = sum(file.stat().st_blocks * 512 for file in self.folder.glob("*")) if self.folder.is_dir() else 0
        # The other ranks' shares are about as large as this one.
        require_space(path, (self._bytes(int(facts.get("views", 1))) - begun) * world_size, "the store")
        self._lock = hold(self.folder / ".lock", f"{path}: another process is writing this store", wait=True)
        try:
            self.facts = self._begin({**facts, "arrays": [asdict(spec) for spec in arrays]}, block_rows)
            self.block_rows = size = int(self.facts["shard"]["block_rows"])
            self.blocks = [range(at, min(at + size, self.samples)) for at in range(0, self.samples, size)]
            self._take_up_log()
        except BaseException:
            self._lock.release()
            raise

    @property
    def finished(self) -> bool:
        """Whether all of the shard is there."""
        return bool(self.facts["shard"]["finished"])

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        self._log.close()
        self._lock.release()

    def slots(self, name: str) -> int:
        """How many slots the shard's samples have of one of the counts, in all."""
        return int(self._slots[name].sum())

    def is_done(self, name: str, block: int, view: int = 0) -> bool:
        """Whether a block of the array `name` is on the disk."""
        return self.finished or (name, view, block) in self._done

    def write(
        self,
        block: int,
        rows: Mapping[str, np.ndarray],
        *,
        view: int = 0,
        counts: Mapping[str, Sequence[int]] | None = None,
        notes: Any = None,
        bad: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Write a block of some arrays. It counts once all of it is on the disk.

        Args:
            rows: array -> [n, width], the rows of the block's slots, in order.
            counts: ragged array -> how many of them each slot has.
            notes: JSON that belongs to the block. bad: `id` and `reason` of its samples that couldn't be read.

        Raises:
            UserError: a number that isn't finite, a full disk.
        """
        line: Line = {"block": block, "view": view, "arrays": {}, "slots": {}, "counts": {}, "bad": list(bad)}
        inside = self.blocks[block]
        for name, values in rows.items():
            spec, slots = self.specs[name], [1] * len(inside)
            if spec.counted is not None:
                line["slots"][spec.counted] = slots = self._slots[spec.counted][inside.start : inside.stop].tolist()
            found = [1] * sum(slots)
            if spec.ragged:
                line["counts"][name] = found = [int(count) for count in (counts or {})[name]]
            if len(found) != sum(slots) or len(values) != sum(found):
                raise ValueError(f"{name}: {len(values)} rows, {sum(found)} in {sum(slots)} slots of block {block}")
            broken = ~np.isfinite(values).all(axis=1)
            if broken.any():
                sample = np.repeat(np.repeat(inside, slots), found)[np.argmax(broken)]
                raise UserError(
                    f"{self.folder}: {self.facts['teacher']} gives NaN or infinity as {name} of "
                    f"{self._ids[sample]!r}; check its weights and the input"
                )
            line["arrays"][name] = self._put((name, view, block), values)
        if notes is not None:
            line["notes"] = notes
        self._log.write((json.dumps(line) + "\n").encode())
        self._log.flush()
        os.fsync(self._log.fileno())
        self._note(line)

    def stop_if_too_bad(self, share: float) -> None:
        """Raise a UserError when more than `share` of the shard's pictures can't be read."""
        if len(self.bad) > share * self.samples:
            some = "; ".join(f"{name}: {reason}" for name, reason in list(self.bad.items())[:5])
            raise UserError(
                f"{self.folder}: {len(self.bad)} of {self.samples} pictures can't be read, more than "
                f"data.max_bad_share = {share:g} ({some}); mend them or raise the share"
            )

    def finish(self) -> None:
        """Read all of it again, and mark the shard as complete.

        Raises:
            UserError: a block isn't what was written. It is taken out: the same command writes it again.
        """
        if not self.finished:
            bad = [{"id": name, "reason": reason} for name, reason in self.bad.items()]
            content = (self.folder / "blocks.jsonl").read_bytes()
            self._require_written(read_lines(content))
            ids = digest((self.folder / "ids.json").read_bytes())
            own = {"rows": self._ends, "log": digest(content), "ids": ids, "bad": bad, "finished": True}
            self.facts["shard"] |= own
            write_json(self.folder / "shard.json", self.facts)

    def _require_written(self, lines: list[Line]) -> None:
        broken = list(broken_blocks(self.folder, self.specs, lines))
        if broken:
            for damage in broken:
                lines[damage.line or 0]["again"] = True
            write_text(self.folder / "blocks.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
            raise UserError(
                f"{broken[0]}: the disk doesn't give back what was written to it ({len(broken)} blocks); run the same "
                "again, which writes them again, and look after the disk"
            )

    def _bytes(self, views: int) -> int:
        total = 64 * self.samples  # ids and the log
        for spec in self.specs.values():
            slots = self.samples if spec.counted is None else self.slots(spec.counted)
            total += slots * (views if spec.key == "view" else 1) * spec.about * spec.row_bytes
        return total

    def _begin(self, facts: dict[str, Any], block_rows: int) -> dict[str, Any]:
        found = read_facts(self.folder / "shard.json")
        if found is not None:
            require_same(self.folder, found, facts)
            if not found["shard"]["finished"]:  # damaged ones may have been the reason
                write_json(self.folder / "ids.json", self._ids)
            return found
        own = {"start": self.start, "samples": self.samples, "block_rows": block_rows, "finished": False}
        write_json(self.folder / "ids.json", self._ids)
        write_json(self.folder / "shard.json", facts | {"shard": own})
        return facts | {"shard": own}

    def _take_up_log(self) -> None:
        path = self.folder / "blocks.jsonl"
        lines = read_lines(path.read_bytes()) if path.is_file() else []
        self._done: set[tuple[str, int, int]] = set()
        self._places: dict[tuple[str, int, int], list[int]] = {}
        self.bad: dict[str, str] = {}
        self._ends = dict.fromkeys(self.specs, 0)
        for line in lines:
            for name, (start, count, _) in line["arrays"].items():
                self._ends[name] = max(self._ends[name], start + count)
                self._places[name, line["view"], line["block"]] = [start, count]
        if not self.finished:
            # A block with bad samples is tried again: the files may have been mended; and one that was found damaged.
            lines = [line for line in lines if not line["bad"] and not line.get("again")]
            write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        for line in lines:
            self._note(line)
        self._log = open(path, "ab")  # noqa: SIM115 - held as long as the writer, closed by `close`
        writable = {} if self.finished else self.specs
        self._files = {name: RowsFile(self.folder, spec, self._ends[name]) for name, spec in writable.items()}

    def _put(self, key: tuple[str, int, int], values: np.ndarray) -> list[Any]:
        """Write rows where the block was before, if they fit there exactly, or behind all others."""
        name, count = key[0], len(values)
        start, before = self._places.get(key, (self._ends[name], count))
        if before != count:
            start = self._ends[name]
        written = self._files[name].write(start, values)
        self._ends[name] = max(self._ends[name], start + count)
        return [start, count, written]

    def _note(self, line: Line) -> None:
        self._done |= {(name, line["view"], line["block"]) for name in line["arrays"]}
        self.bad |= {entry["id"]: entry["reason"] for entry in line["bad"]}
