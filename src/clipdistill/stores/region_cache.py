"""Writing a RegionStore: find regions, embed their crops, block by block; a killed run goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from clipdistill.data import Mixture
from clipdistill.errors import UserError
from clipdistill.stores.encoder import evaluating
from clipdistill.stores.facts import VERSION
from clipdistill.stores.region_crops import Crops
from clipdistill.stores.regions import RegionStore, region_arrays
from clipdistill.stores.store import opened_or_written
from clipdistill.stores.writer import ShardWriter

BLOCK = 256
"""Pictures a block: what a kill can cost."""


def cache_regions(
    model: Any,
    mixture: Mixture,
    provider: Any | None,
    path: str | Path,
    *,
    min_score: float = 0.25,
    max_regions: int = 10,
    crop: Literal["resize", "centre"] = "resize",
    batch_size: int = 64,
    detect_batch: int = 8,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    max_bad_share: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
) -> RegionStore | None:
    """Write (or go on writing) the regions of every picture of a mixture.

    The surest `max_regions` boxes of at least `min_score` are kept; a picture without any has itself as its region,
    with confidence 1. Crops of many pictures are encoded together. A store that another process is writing is waited
    for: regions are shared between runs.

    Args:
        model: a DualEncoder. provider: see `models.regions`; None = the boxes of the data set (`Sample.regions`).
        crop: how a box becomes the model's picture, see `region_crops.Crops`.
        batch_size: crops the model encodes at once. detect_batch: pictures the provider sees at once.
        max_bad_share: share of this rank's pictures that may be unreadable.

    Returns:
        The opened store, or None while other ranks are still at work.

    Raises:
        UserError: the folder holds other regions (says what differs), too many bad pictures, data without boxes.
    """
    from clipdistill.models import fingerprint

    path, device = Path(path), torch.device(device)
    facts = {
        "version": VERSION, "kind": "regions", "teacher": model.name, "teacher_fingerprint": fingerprint(model),
        "embed_dim": int(model.embed_dim), "provider": "annotations" if provider is None else provider.name,
        "provider_key": _annotations_key(mixture) if provider is None else provider.key, "min_score": min_score,
        "max_regions": max_regions, "crop": crop, "data_fingerprint": mixture.fingerprint(), "samples": len(mixture),
        "world_size": world_size,
    }  # fmt: skip
    model.to(device)
    crops = Crops(model, device, provider, min_score, max_regions, crop, batch_size, detect_batch)

    def work(shard: ShardWriter) -> None:
        for number, block in enumerate(shard.blocks):
            if not shard.is_done("features", number):
                found = crops.of(mixture, range(shard.start + block.start, shard.start + block.stop))
                rows = {"features": found.features, "geometry": found.geometry, "shares": found.shares}
                counts = dict.fromkeys(rows, found.counts)
                shard.write(number, rows, counts=counts, notes={"labels": found.labels}, bad=found.bad)
                shard.stop_if_too_bad(max_bad_share)
            if progress is not None:
                progress(min(len(mixture), block.stop * world_size), len(mixture))

    # Whole blocks a rank: which crops are encoded together, and so their bits, doesn't depend on the number of ranks.
    with evaluating(model):
        return opened_or_written(
            RegionStore, path, facts, mixture.ids, region_arrays(int(model.embed_dim)), work,
            rank=rank, block_rows=BLOCK, whole_blocks=True,
        )  # fmt: skip


def _annotations_key(mixture: Mixture) -> str:
    digest, some = hashlib.sha256(), False
    for row in range(len(mixture)):
        regions = mixture[row].regions
        if regions is not None:
            some = some or len(regions.boxes) > 0
            digest.update(
                np.ascontiguousarray(regions.boxes).tobytes() + np.ascontiguousarray(regions.scores).tobytes()
            )
            digest.update("\n".join(regions.labels).encode())
        digest.update(b"|")
    if not some:
        raise UserError("provider annotations: the data has no boxes; give its source `boxes`, or use another provider")
    return f"annotations-{digest.hexdigest()[:16]}"
