"""One rank's folder of a store: its arrays, and a log of finished blocks from which a killed run goes on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import atomic_path, write_json, write_text
from clipdistill.stores.arrays import ArraySpec, RowsWriter
from clipdistill.stores.facts import require_same
from clipdistill.stores.shard_reader import read_log, read_shard

BLOCK_ROWS = 1024


class ShardWriter:
    """Writes one shard; made anew or taken up where a killed run left it.

    A folder holds `shard.json` (facts, arrays, whether finished), `ids.json`, `captions.npy` (int64 [n + 1]: which
    text rows belong to a sample), the arrays, and `blocks.jsonl`: a line for each block that is safe on the disk.

    Args:
        folder: STORE/shard-<rank>-of-<world size>.
        facts: what all shards share.
        ids: ids of this shard's n samples.  start: position of the first one in the mixture.
        captions: how many captions each sample has.
        block_rows: samples a block, when the shard is new.

    Raises:
        UserError: the folder holds something else (says what differs), or another process is writing it.
    """

    def __init__(
        self,
        folder: Path,
        facts: dict[str, Any],
        ids: Sequence[str],
        start: int,
        captions: Sequence[int],
        arrays: Sequence[ArraySpec],
        block_rows: int,
    ) -> None:
        self.folder = folder
        self.samples = len(ids)
        self.offsets = np.concatenate([[0], np.cumsum(np.asarray(captions, dtype=np.int64))]).astype(np.int64)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: can't be written ({error.strerror}); choose another folder") from error
        self._lock()
        found = read_shard(folder)
        if found is None:
            found = {
                **facts,
                "start": start,
                "rows": len(ids),
                "captions": int(self.offsets[-1]),
                "block_rows": block_rows,
                "arrays": [spec.to_json() for spec in arrays],
                "finished": False,
            }
            write_json(folder / "ids.json", list(ids))
            with atomic_path(folder / "captions.npy") as temporary, open(temporary, "wb") as handle:
                np.save(handle, self.offsets)
            write_json(folder / "shard.json", found)
        else:
            require_same(folder, found, facts)
        self.facts = found
        self.finished = bool(found["finished"])
        self._writers = {spec.name: RowsWriter(folder, spec) for spec in arrays} if not self.finished else {}
        self._take_up_log()

    def blocks(self) -> list[range]:
        """Local row numbers of each block."""
        size = int(self.facts["block_rows"])
        return [range(at, min(at + size, self.samples)) for at in range(0, self.samples, size)]

    def is_done(self, unit: str) -> bool:
        """Whether the block called `unit` is on the disk."""
        return unit in self._done

    def write(self, unit: str, parts: dict[str, tuple[int, np.ndarray]], bad: Sequence[dict[str, str]] = ()) -> None:
        """Write a block: for each array the first row and the values. It counts once all of it is on the disk."""
        digests = {
            name: [at, len(values), self._writers[name].write(at, values)] for name, (at, values) in parts.items()
        }
        line = {"unit": unit, "digests": digests, "bad": list(bad)}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        os.fsync(self._log.fileno())
        self._done[unit] = line

    def bad(self) -> dict[str, str]:
        """Ids of samples that couldn't be decoded -> reason."""
        return {entry["id"]: entry["reason"] for line in self._done.values() for entry in line["bad"]}

    def finish(self) -> None:
        """Mark the shard as complete."""
        if not self.finished:
            bad = [{"id": name, "reason": reason} for name, reason in self.bad().items()]
            write_json(self.folder / "shard.json", {**self.facts, "bad": bad, "finished": True})
            self.finished = True

    def close(self) -> None:
        """Close all files and let go of the folder."""
        for writer in self._writers.values():
            writer.close()
        self._log.close()
        self._held.close()

    def _lock(self) -> None:
        # Lives as long as the process, however it ends. Some network file systems have no locks: then there is none.
        self._held = open(self.folder / ".lock", "w")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            raise UserError(f"{self.folder}: another process is writing this store; wait for it or end it") from None
        except OSError:
            pass

    def _take_up_log(self) -> None:
        path = self.folder / "blocks.jsonl"
        lines = read_log(path)
        if not self.finished:
            # A block with bad samples is tried again: the files may have been mended.
            lines = [line for line in lines if not line["bad"]]
            write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._done = {line["unit"]: line for line in lines}
        self._log = open(path, "a", encoding="utf-8")
