"""Store: named arrays on disk, read through memory maps by sample, view, caption or field value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from clipdistill.errors import UserError
from clipdistill.stores.arrays import AGAIN, ArraySpec
from clipdistill.stores.facts import VERSION, facts_digest, not_as_written, read_facts, require_same
from clipdistill.stores.shards import Shard, join
from clipdistill.stores.writer import ShardWriter

Kind = TypeVar("Kind", bound="Store")


class Store:
    """Named arrays for N samples; shards are read where they lie. Can be pickled and shared by any number of readers.

    Attributes:
        path: the folder.
        meta: what the store says of itself: the facts that it was written with, `arrays`, `rows`, `bad`, `shards`.
        ids: the N sample ids, by row.
        bad: ids of samples whose picture couldn't be read -> reason.
    """

    WHAT: ClassVar[str] = "store"
    KIND: ClassVar[str | None] = None

    def __init__(self, path: Path, meta: dict[str, Any], shards: list[Shard]) -> None:
        self.path, self.meta = path, meta
        self.ids: list[str] = [name for shard in shards for name in shard.ids]
        self.bad: dict[str, str] = {entry["id"]: entry["reason"] for entry in meta["bad"]}
        self._unread = self.rows(list(self.bad))
        self._shards = shards
        self._starts = np.cumsum([0, *[len(shard.ids) for shard in shards]])

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a finished store.

        Raises:
            UserError: no store there, an unfinished one (says how far it is), another kind or format, damaged files.
        """
        path = Path(path)
        with not_as_written(path / "store.json"):
            meta = cls._read_meta(path)
            shards = [Shard(path / name) for name in meta["shards"]]
            if sum(len(shard.ids) for shard in shards) != meta["samples"]:
                raise UserError(f"{path}: its shards don't hold the {meta['samples']} samples it should; {AGAIN}")
            found = cls(path, meta, shards)
        return found

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).open, (self.path,)  # a memory map would be pickled as a copy of the file

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row of each id, int64; -1 for those that aren't in the store."""
        if list(ids) == self.ids:
            return np.arange(len(self.ids), dtype=np.int64)
        place = {name: row for row, name in enumerate(self.ids)}
        return np.fromiter((place.get(name, -1) for name in ids), np.int64, len(ids))

    def slots(self, name: str, rows: Any) -> np.ndarray:
        """How many slots of the array `name` each sample has (captions, values of a field), int64 [B]."""
        rows = self.checked(rows)
        result = np.zeros(len(rows), np.int64)
        for shard, mine, local in self._by_shard(rows):
            result[mine] = shard.layouts[name].slots(local)
        return result

    def take(self, name: str, rows: Any, slots: Any = 0, views: Any = 0) -> np.ndarray:
        """Return one row a sample of an array that isn't ragged, float32 [B, width]; arguments as in `padded`."""
        return self.padded(name, rows, 1, slots, views)[0][:, 0]

    def padded(self, name: str, rows: Any, limit: int, slots: Any = 0, views: Any = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the first `limit` rows of slots, fewer where a slot has fewer.

        Args:
            rows, slots, views: B integers each, or one for all: rows of `rows()`; which caption or value; which view.

        Returns:
            Values float32 [B, limit, width], 0 where there is none; mask bool [B, limit], True = a row.

        Raises:
            UserError: a row that isn't there. Slots and views are the caller's to check.
        """
        rows = self.checked(rows)
        slots, views = (np.broadcast_to(np.asarray(each, np.int64), rows.shape) for each in (slots, views))
        values = np.zeros((len(rows), limit, self._shards[0].specs[name].width), np.float32)
        mask, place = np.zeros((len(rows), limit), bool), np.arange(limit)
        for shard, mine, local in self._by_shard(rows):
            first, count = shard.layouts[name].find(local, slots[mine], views[mine])
            there = place[None] < count[:, None]
            index = np.where(there, first[:, None] + place[None], np.where(count > 0, first, 0)[:, None])
            if there.any():
                values[mine] = shard.arrays[name][index]
            mask[mine] = there
        if not mask.all():
            values *= mask[..., None]
        return values, mask

    def verify(self) -> None:
        """Read everything: sizes, the digest of each block and of the log, finite numbers.

        Raises:
            UserError: names the first file that is damaged.
        """
        for shard in self._shards:
            shard.verify()

    def checked(self, rows: Any) -> np.ndarray:
        """Rows as int64 [B]; a UserError for one that isn't there."""
        found: np.ndarray = np.asarray(rows, dtype=np.int64)
        if len(found) and (found.min() < 0 or found.max() >= len(self.ids)):
            asked = f"row {found.min()}..{found.max()} asked of {len(self.ids)} samples"
            raise UserError(f"{self.path}: {asked}; {AGAIN}")
        return found

    def _by_shard(self, rows: np.ndarray) -> Iterator[tuple[Shard, Any, np.ndarray]]:
        """(shard, which of `rows` lie in it, their numbers within it) for each shard that has some."""
        if len(self._shards) == 1:
            yield self._shards[0], slice(None), rows
            return
        number = np.searchsorted(self._starts, rows, side="right") - 1
        for each in np.unique(number):
            mine = number == each
            yield self._shards[each], mine, rows[mine] - self._starts[each]

    @classmethod
    def _read_meta(cls, path: Path) -> dict[str, Any]:
        file = path / "store.json"
        meta = read_facts(file)
        if meta is None:
            shards = [facts for file in path.glob("shard-*-of-*/shard.json") if (facts := read_facts(file)) is not None]
            if shards:
                complete = sum(bool(facts.get("shard", {}).get("finished")) for facts in shards)
                raise UserError(
                    f"{path}: an unfinished store, {complete} of {shards[0]['world_size']} parts complete; run "
                    "`clipdistill cache` again to go on with it"
                )
            raise UserError(f"{path}: there is no {cls.WHAT}; write one with `clipdistill cache`")
        if meta["version"] != VERSION:
            raise UserError(f"{file}: format {meta['version']}, this version reads {VERSION}; {AGAIN}")
        if cls.KIND not in (None, meta["kind"]):
            raise UserError(f"{file}: holds {meta['kind']}, and isn't a {cls.WHAT}; choose another folder")
        if (written := meta.pop("digest", None)) not in (None, facts_digest(meta)):  # an older store has none
            raise UserError(f"{file}: isn't what was written ({written} was its digest); {AGAIN}")
        return meta


def opened_or_written(
    kind: type[Kind],
    path: Path,
    facts: dict[str, Any],
    ids: Sequence[str],
    arrays: Sequence[ArraySpec],
    work: Callable[[ShardWriter], None],
    **options: Any,
) -> Kind | None:
    """Open the store at `path` when it is there, or have `work` write this rank's shard of it.

    Args:
        facts, ids, arrays, options: as `ShardWriter` takes them. work: writes the blocks that aren't done.

    Returns:
        The opened store, or None while other ranks are still at work.

    Raises:
        UserError: the folder holds something else; whatever `ShardWriter` raises.
    """
    if (path / "store.json").is_file():
        store = kind.open(path)
        require_same(path, store.meta, facts)
        return store
    with ShardWriter(path, facts, ids, arrays, **options) as shard:
        work(shard)
        shard.finish()
        complete = join(path, int(facts["world_size"]))
    return kind.open(path) if complete else None
