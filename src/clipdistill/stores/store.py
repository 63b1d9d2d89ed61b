"""TeacherStore: a teacher's targets on disk, read through memory maps by sample, view and caption."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import write_json
from clipdistill.stores.arrays import gather
from clipdistill.stores.facts import VERSION, require_same
from clipdistill.stores.shard_reader import AGAIN, ShardReader, read_shard

SHARED = ("start", "rows", "captions", "block_rows", "arrays", "finished", "bad")
"""Keys of `shard.json` that belong to one shard; the others are facts of the whole store."""


def shard_folder(path: Path, rank: int, world_size: int) -> Path:
    """Return where rank `rank` writes."""
    return path / f"shard-{rank:05d}-of-{world_size:05d}"


def finish(path: Path, world_size: int) -> TeacherStore | None:
    """Join the shards by writing `store.json`, if all are complete (nothing is copied); None if some aren't yet.

    Any rank may do it, and the last one will. Nothing opens as a store before this.
    """
    found = [read_shard(shard_folder(path, rank, world_size)) for rank in range(world_size)]
    shards = [shard for shard in found if shard is not None and shard["finished"]]
    if len(shards) < world_size:
        return None
    facts = {key: value for key, value in shards[0].items() if key not in SHARED}
    for rank, shard in enumerate(shards):
        require_same(shard_folder(path, rank, world_size), shard, facts)
    bad = [entry for shard in shards for entry in shard["bad"]]
    folders = [shard_folder(path, rank, world_size).name for rank in range(world_size)]
    captions = sum(shard["captions"] for shard in shards)
    write_json(path / "store.json", {**facts, "captions": captions, "bad": bad, "shards": folders})
    return TeacherStore.open(path)


class TeacherStore:
    """Targets of one teacher for N samples, K views each, and all their captions.

    Embeddings come back as unit vectors (they were normalised before they became half precision), tower features at
    their own length. Shards are read where they lie. A store can be pickled and shared by any number of readers.

    Attributes:
        path: the folder.
        meta: what the store says of itself (`facts.store_facts`): teacher, embed_dim, views, plan, fingerprints...
        ids: the N sample ids, by row.
        bad: ids of samples whose picture couldn't be read -> reason. They have rows, but no image targets.
    """

    def __init__(self, path: Path, meta: dict[str, Any], shards: list[ShardReader]) -> None:
        self.path, self.meta = path, meta
        self.ids: list[str] = [name for shard in shards for name in shard.ids]
        self.bad: dict[str, str] = {entry["id"]: entry["reason"] for entry in meta["bad"]}
        self._shards = shards
        self._starts = np.cumsum([0, *[len(shard.ids) for shard in shards]])
        self._sizes = np.diff(self._starts)
        # For each row: its first text row within its shard, and how many captions it has.
        self._text_start = np.concatenate([shard.offsets[:-1] for shard in shards])
        self._captions = np.concatenate([np.diff(shard.offsets) for shard in shards])
        self._readable = np.fromiter((name not in self.bad for name in self.ids), bool, len(self.ids))

    @classmethod
    def open(cls, path: str | Path) -> TeacherStore:
        """Open a finished store.

        Raises:
            UserError: no store there, an unfinished one (says how far it is), a newer format, damaged files.
        """
        path = Path(path)
        meta = _read_meta(path)
        shards = [ShardReader(path / name) for name in meta["shards"]]
        if sum(len(shard.ids) for shard in shards) != meta["samples"]:
            raise UserError(f"{path}: its shards don't hold the {meta['samples']} samples it should; {AGAIN}")
        return cls(path, meta, shards)

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:
        return TeacherStore.open, (self.path,)  # a memory map would be pickled as a copy of the file

    @property
    def logit_scale(self) -> float:
        """The teacher's scale of cosines, exponentiated; 1 for tower features."""
        return float(self.meta["logit_scale"])

    @property
    def logit_bias(self) -> float | None:
        """The teacher's bias of logits (SigLIP), or None."""
        bias = self.meta["logit_bias"]
        return None if bias is None else float(bias)

    @property
    def views(self) -> int:
        """K, the stored views of each picture."""
        return int(self.meta["views"])

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row of each id, int64; -1 for those that aren't in the store."""
        if list(ids) == self.ids:
            return np.arange(len(self.ids), dtype=np.int64)
        place = {name: row for row, name in enumerate(self.ids)}
        return np.fromiter((place.get(name, -1) for name in ids), np.int64, len(ids))

    def image(self, rows: Any, views: Any) -> np.ndarray:
        """Return image targets, float32 [B, D].

        Args:
            rows, views: B integers each, row numbers of `rows()` and view numbers below K.

        Raises:
            UserError: a row that isn't there, a view that wasn't stored, a picture that couldn't be read.
        """
        rows, views = self._checked(rows), np.asarray(views, dtype=np.int64)
        if len(views) and not (0 <= views.min() and views.max() < self.views):
            wrong = views[(views < 0) | (views >= self.views)][0]
            raise UserError(f"{self.path}: view {wrong} asked of a store with {self.views}; use its augmentation plan")
        if not self._readable[rows].all():
            name = self.ids[int(rows[~self._readable[rows]][0])]
            raise UserError(
                f"{self.path}: no image target for {name}, which couldn't be read when the store was written "
                f"({self.bad[name]}); {AGAIN}"
            )
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        return self._take("image", shard, views * self._sizes[shard] + rows - self._starts[shard])

    def text(self, rows: Any, captions: Any) -> np.ndarray:
        """Return text targets, float32 [B, D].

        Args:
            rows, captions: B integers each, row numbers of `rows()` and which of the sample's captions.

        Raises:
            UserError: a row or a caption that isn't there.
        """
        return self._by_caption("text", rows, captions)

    def _by_caption(self, array: str, rows: Any, captions: Any) -> np.ndarray:
        rows, captions = self._checked(rows), np.asarray(captions, dtype=np.int64)
        wrong = (captions < 0) | (captions >= self._captions[rows])
        if wrong.any():
            at = int(wrong.argmax())
            name, count = self.ids[int(rows[at])], self._captions[rows[at]]
            raise UserError(f"{self.path}: caption {captions[at]} asked of {name}, which has {count} in this store")
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        return self._take(array, shard, self._text_start[rows] + captions)

    def pair_image(self, rows: Any, captions: Any) -> np.ndarray:
        """Return the image targets that go with captions, float32 [B, D]; arguments and errors as in `text`."""
        return self._by_caption("image", rows, captions)

    def check(
        self,
        *,
        teacher_fingerprint: str | None = None,
        plan_fingerprint: str | None = None,
        ids: Iterable[str] | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        """Compare the store with what a training is about to use; None isn't looked at.

        Args:
            ids: sample ids that must be there.
            sources: data source name -> fingerprint: captions and files must be what the teacher saw.

        Raises:
            UserError: names all that differs.
        """
        wanted = {"teacher_fingerprint": teacher_fingerprint, "plan_fingerprint": plan_fingerprint}
        require_same(self.path, self.meta, {key: value for key, value in wanted.items() if value is not None})
        for name, value in (sources or {}).items():
            if self.meta["sources"].get(name, value) != value:
                raise UserError(f"{self.path}: the data source '{name}' has changed since this store was made; {AGAIN}")
        if ids is not None:
            known = set(self.ids)
            missing = [name for name in ids if name not in known]
            if missing:
                raise UserError(
                    f"{self.path}: {len(missing)} samples aren't in this store (first: {missing[0]}); "
                    "choose another folder or delete this one"
                )

    def verify(self) -> None:
        """Read everything: sizes, the digest of each block, finite numbers.

        Raises:
            UserError: names the first file that is damaged.
        """
        for shard in self._shards:
            shard.verify()

    def _checked(self, rows: Any) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not (0 <= rows.min() and rows.max() < len(self.ids)):
            raise UserError(f"{self.path}: row {rows.min()}..{rows.max()} asked of {len(self.ids)} samples")
        return rows

    def _take(self, name: str, shard: np.ndarray, index: np.ndarray) -> np.ndarray:
        result = gather([s.arrays[name] for s in self._shards], shard, index)
        if f"{name}_length" in self._shards[0].arrays:
            result *= gather([s.arrays[f"{name}_length"] for s in self._shards], shard, index)
        return result


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / "store.json"
    if not file.is_file():
        begun = sorted(path.glob("shard-*-of-*"))
        if begun:
            complete = sum(bool((read_shard(folder) or {}).get("finished")) for folder in begun)
            parts = int(begun[0].name.rsplit("-", 1)[1])
            raise UserError(
                f"{path}: an unfinished store, {complete} of {parts} parts complete; run `clipdistill cache` again to "
                "go on with it"
            )
        raise UserError(f"{path}: there is no teacher store; write one with `clipdistill cache`")
    try:
        meta: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = meta["version"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: not a teacher store's file; {AGAIN}") from None
    if version != VERSION:
        raise UserError(f"{file}: format {version}, this version reads {VERSION}; {AGAIN}")
    return meta
