"""Writing a RegionStore: regions are made block by block; a killed run goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from clipdistill.data.pictures import Pictures, stamp
from clipdistill.errors import UserError
from clipdistill.stores.facts import VERSION, require_same
from clipdistill.stores.region_boxes import RegionMaker
from clipdistill.stores.region_crops import Crops
from clipdistill.stores.region_facts import SHARED
from clipdistill.stores.regions import RegionStore
from clipdistill.stores.store import opened_or_written
from clipdistill.stores.writer import ShardWriter

BLOCK = 256
"""Pictures a block: what a kill can cost."""


def cache_regions(
    model: Any,
    mixture: Any,
    provider: Any | None,
    path: str | Path,
    *,
    min_score: float = 0.25,
    max_regions: int = 10,
    crop: Literal["resize", "centre"] = "resize",
    batch_size: int = 64,
    detect_batch: int = 8,
    device: torch.device | str = "cpu",
    **how: Any,
) -> RegionStore | None:
    """Write (or go on writing) the regions of every picture of a mixture, their crops embedded by a model.

    The surest `max_regions` boxes of at least `min_score` are kept; a picture without any has itself as its region,
    with confidence 1. Crops of many pictures are encoded together.

    Args:
        model: a DualEncoder. provider: see `models.regions`; None = the boxes of the data set (`Sample.regions`).
        crop: how a box becomes the model's picture, see `region_crops.Crops`.
        batch_size: crops the model encodes at once. detect_batch: pictures the provider sees at once.
        how: the further arguments of `write_regions`.

    Returns, Raises:
        As `write_regions`.
    """
    device = torch.device(device)
    maker = Crops(model.to(device), device, provider, min_score, max_regions, crop, batch_size, detect_batch)
    return write_regions(maker, mixture, path, **how)


def write_regions(
    maker: RegionMaker,
    mixture: Any,
    path: str | Path,
    *,
    rank: int = 0,
    world_size: int = 1,
    max_bad_share: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
) -> RegionStore | None:
    """Write (or go on writing) the regions of every picture of a mixture, once each, however many samples show it.

    A store that is there and has these pictures among others is taken as it is. One that another process is writing is
    waited for: regions are shared between runs.

    Args:
        maker: what finds them and gives them features. max_bad_share: share of this rank's pictures that may be
            unreadable. progress: called with (pictures done, pictures in all).

    Returns:
        The opened store, or None while other ranks are still at work.

    Raises:
        UserError: the folder holds other regions (says what differs), too many bad pictures, data without boxes.
    """
    path, pictures = Path(path), Pictures(mixture)
    facts = {
        "version": VERSION, "kind": "regions", **maker.facts(pictures), "data_fingerprint": pictures.fingerprint(),
        "samples": len(pictures), **({"keys": SHARED} if pictures.shared else {}), "world_size": world_size,
    }  # fmt: skip
    if pictures.shared and (path / "store.json").is_file():
        return _with_these(path, facts, pictures)

    def work(shard: ShardWriter) -> None:
        for number, block in enumerate(shard.blocks):
            if not shard.is_done("features", number):
                inside = range(shard.start + block.start, shard.start + block.stop)
                found = maker.of(pictures, inside)
                rows = {"features": found.features, "geometry": found.geometry, "shares": found.shares}
                rows |= found.more or {}
                counts = dict.fromkeys(rows, found.counts)
                notes: dict[str, Any] = {"labels": found.labels}
                if pictures.shared:
                    notes["stamps"] = [stamp(pictures[row]) for row in inside]
                if found.dropped:
                    notes["dropped"] = list(found.dropped)
                shard.write(number, rows, counts=counts, notes=notes, bad=found.bad)
                shard.stop_if_too_bad(max_bad_share)
            if progress is not None:
                progress(min(len(pictures), block.stop * world_size), len(pictures))

    # Whole blocks a rank: which crops are encoded together, and so their bits, doesn't depend on the number of ranks.
    with maker.working():
        return opened_or_written(
            RegionStore, path, facts, pictures.ids, maker.arrays(), work,
            rank=rank, block_rows=BLOCK, whole_blocks=True,
        )  # fmt: skip


def _with_these(path: Path, facts: dict[str, Any], pictures: Pictures) -> RegionStore:
    store = RegionStore.open(path)
    # Which pictures a store has, and which boxes the data gives for them, is seen picture by picture.
    own = {"data_fingerprint"} | ({"provider_key"} if facts["provider"] == "annotations" else set())
    require_same(path, store.meta, {name: value for name, value in facts.items() if name not in own})
    if why := store.lacks(pictures):
        raise UserError(f"{path}: {why}; choose another folder or delete this one")
    return store
