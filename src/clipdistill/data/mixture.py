"""A `Mixture`: stated counts drawn from each of several sources, by seed, seen as one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from clipdistill.data.draws import integer
from clipdistill.data.pictures import picture_ids
from clipdistill.data.sample import Sample
from clipdistill.data.sources.bare import is_bare
from clipdistill.data.sources.base import Source
from clipdistill.errors import UserError


class Mixture:
    """Samples of several sources, in order of the parts and of the rows within each.

    parts: (source, how many to draw, without replacement; None = all of it). seed: decides which are drawn; each
    source's draw depends only on the seed and the source's name, so adding a source leaves the others' draws alone.
    repeat: how often an epoch visits each sample of each part; none = once. Ids, length and fingerprint know nothing
    of it: what is stored of the samples is the same.

    Raises:
        UserError: no parts, two sources of one name, or more asked of a source than it has.
    """

    def __init__(self, parts: Sequence[tuple[Source, int | None]], seed: int = 0, repeat: Sequence[int] = ()) -> None:
        if not parts:
            raise UserError("the data mixture is empty; name at least one source")
        twice = [name for name, times in Counter(source.name for source, _ in parts).items() if times > 1]
        if twice:
            raise UserError(f"two data sources are called '{twice[0]}'; give each its own 'name'")
        self.sources = [source for source, _ in parts]
        self.seed = seed
        self.repeat = tuple(repeat) or (1,) * len(parts)
        rows = [_drawn(source, count, seed) for source, count in parts]
        self._part = np.repeat(np.arange(len(parts), dtype=np.int32), [len(drawn) for drawn in rows])
        self._row = np.concatenate(rows)
        self._starts = np.cumsum([0, *[len(drawn) for drawn in rows]])
        self.ids: list[str] = []
        for source, drawn in zip(self.sources, rows, strict=True):
            known = getattr(source, "ids", None)
            self.ids += [f"{source.name}/{known[row] if known is not None else source[row].id}" for row in drawn]
        self.picture_ids = picture_ids(self.sources, rows, self.ids)
        """The picture of each sample; `ids` itself where each sample has one of its own (`data.pictures`)."""
        classes = {source.classes for source in self.sources}
        self.classes: tuple[str, ...] | None = next(iter(classes)) if len(classes) == 1 else None
        """Class names when all sources agree on them, else None (and batches carry no labels)."""
        self.regions: Any = None
        """A store of the pictures' regions (`stores.regions.RegionStore`), once there is one."""

    def without(self, ids: Collection[str]) -> Mixture:
        """Return this mixture less the samples of those ids (such as the ones a teacher could not read)."""
        kept = np.array([one not in ids for one in self.ids], dtype=bool)
        less = copy(self)
        less._part, less._row = self._part[kept], self._row[kept]
        less._starts = np.cumsum(
            [0, *[int(kept[a:b].sum()) for a, b in zip(self._starts, self._starts[1:], strict=False)]]
        )
        less.ids = [one for one, keep in zip(self.ids, kept, strict=True) if keep]
        less.picture_ids = less.ids
        if self.picture_ids is not self.ids:
            less.picture_ids = [one for one, keep in zip(self.picture_ids, kept, strict=True) if keep]
        return less

    def showing(self, pictures: Mapping[str, str]) -> dict[str, str]:
        """What is said of pictures, such as why they can't be read, said of each sample that shows one."""
        pairs = zip(self.ids, self.picture_ids, strict=True)
        return {one: pictures[picture] for one, picture in pairs if picture in pictures} if pictures else {}

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> Sample:
        source = self.sources[self._part[index]]
        found: Sample = source[int(self._row[index])]
        return dataclasses.replace(found, id=self.ids[index])

    def caption_count(self, sample: int = 200) -> int:
        """About how many captions there are, from the first `sample` samples of each source."""
        found = 0.0
        for start, stop in zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True):
            first = [len(self[row].captions) for row in range(start, min(start + sample, stop))]
            found += sum(first) / max(1, len(first)) * (stop - start)
        return round(found)

    def is_bare(self, position: int) -> bool:
        """Whether a sample is of a source that says that its pictures have no captions."""
        return is_bare(self.sources[self._part[position]])

    @property
    def captioned(self) -> float:
        """The share of an epoch's visits that have a caption: 1 where no source is without."""
        visits = np.diff(self._starts) * np.array(self.repeat)
        bare = np.array([is_bare(source) for source in self.sources])
        return float(visits[~bare].sum() / visits.sum())

    def counts(self) -> dict[str, int]:
        """Return how many samples each source gives."""
        return {s.name: int(n) for s, n in zip(self.sources, np.diff(self._starts), strict=True)}

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """What the sources left out when they were opened: (id, reason)."""
        return [(f"{s.name}/{one}", why) for s in self.sources for one, why in getattr(s, "skipped", ())]

    @property
    def visits(self) -> int:
        """Samples that an epoch visits, each as often as its part is repeated."""
        return int((np.diff(self._starts) * np.array(self.repeat)).sum())

    def layout(self) -> list[tuple[range, list[np.ndarray] | None]]:
        """For each source: its positions here and, if it has shards, those positions shard by shard."""
        result: list[tuple[range, list[np.ndarray] | None]] = []
        for number, source in enumerate(self.sources):
            start, stop = int(self._starts[number]), int(self._starts[number + 1])
            shards: list[range] | None = getattr(source, "blocks", None)
            parts = None
            if shards is not None:
                cuts = start + np.searchsorted(self._row[start:stop], [0, *[shard.stop for shard in shards]])
                parts = [np.arange(low, high) for low, high in zip(cuts[:-1], cuts[1:], strict=True) if high > low]
            result.append((range(start, stop), parts))
        return result

    def fingerprint(self) -> str:
        """Hash of the samples drawn and of the sources' own fingerprints; the same wherever the data lies."""
        digest = hashlib.sha256("\n".join(source.fingerprint() for source in self.sources).encode())
        for one in self.ids:
            digest.update(one.encode() + b"\0")
        return digest.hexdigest()[:16]

    def fields_fingerprint(self, names: Collection[str]) -> dict[str, str]:
        """For each of these fields: hash of the samples' ids and their values, whatever the order of keys in a value.

        Raises:
            UserError: no sample has such a field, or a value isn't made of numbers, texts, lists and mappings.
        """
        digests, found = {name: hashlib.sha256() for name in sorted(names)}, set()
        for sample in (self[row] for row in range(len(self))) if digests else ():
            for name, digest in digests.items():
                value = [sample.fields[name]] if name in sample.fields else []
                found |= {name} if value else set()
                try:
                    text = json.dumps(value, sort_keys=True, default=_plain)
                except TypeError as error:
                    raise UserError(f"{sample.id}: field '{name}' can't be fingerprinted ({error})") from None
                digest.update(sample.id.encode() + b"\0" + text.encode() + b"\0")
        missing = [name for name in digests if name not in found]
        if missing:
            raise UserError(f"no sample has a field '{missing[0]}'; name one that the data source gives")
        return {name: digest.hexdigest()[:16] for name, digest in digests.items()}


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")


def _drawn(source: Source, count: int | None, seed: int) -> np.ndarray:
    """Row numbers, int64, ascending: neighbours on disk stay neighbours."""
    if len(source) == 0:
        raise UserError(f"data source '{source.name}' is empty")
    if count is None:
        return np.arange(len(source), dtype=np.int64)
    if count < 1:
        raise UserError(f"'{count}' samples asked of data source '{source.name}'; ask for at least 1")
    if count > len(source):
        raise UserError(f"{count:,} samples asked of data source '{source.name}', which has {len(source):,}")
    generator = np.random.Generator(np.random.PCG64(integer(2**63, seed, "mixture", source.name)))
    return np.sort(generator.permutation(len(source))[:count]).astype(np.int64)
