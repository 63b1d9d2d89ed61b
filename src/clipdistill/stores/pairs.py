"""Pair stores: the targets of a teacher that sees picture and caption together, one image target a caption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from clipdistill.data import AugmentPlan, Mixture
from clipdistill.errors import UserError
from clipdistill.models.meta_teacher import MetaTeacher
from clipdistill.models.token_embeddings import token_embeddings
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.facts import store_facts
from clipdistill.stores.regions import RegionStore
from clipdistill.stores.store import opened_or_written
from clipdistill.stores.targets import TeacherStore
from clipdistill.stores.writer import ShardWriter


@torch.no_grad()
def cache_pairs(
    meta: MetaTeacher,
    base: Any,
    regions: RegionStore,
    mixture: Mixture,
    path: str | Path,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> TeacherStore | None:
    """Write (or go on writing) the targets of a meta-teacher for every caption of a mixture.

    The store is a TeacherStore with the fact `pairs`: its image rows go with captions, not with views, and are read by
    `TeacherStore.pair_image`. Rows are unit vectors in half precision.

    Args:
        base: the frozen DualEncoder whose text tower reads the captions. batch_size: captions at once.
        progress: called with (samples done, samples in all).

    Returns:
        The opened store, or None while other ranks are still at work.

    Raises:
        UserError: the folder holds other targets (says what differs), a sample has no regions, the disk is full.
    """
    path, device = Path(path), torch.device(device)
    facts = _facts(meta, base, regions, mixture, world_size)
    rows = regions.rows(mixture.picture_ids)
    if (rows < 0).any():
        raise UserError(f"{regions.path}: lacks regions of {mixture.ids[int(np.argmax(rows < 0))]}")
    arrays = [ArraySpec(name, int(base.embed_dim), "caption") for name in ("image", "text")]

    def work(shard: ShardWriter) -> None:
        for number, block in enumerate(shard.blocks):
            if not shard.is_done("image", number):
                positions = range(shard.start + block.start, shard.start + block.stop)
                captions = [(rows[position], text) for position in positions for text in mixture[position].captions]
                owner, texts = np.array([row for row, _ in captions], np.int64), [text for _, text in captions]
                pieces = [slice(at, at + batch_size) for at in range(0, len(texts), batch_size)]
                found = [_targets(meta, base, regions, owner[piece], texts[piece], device) for piece in pieces]
                none = [np.zeros((0, int(base.embed_dim)), np.float32)]
                shard.write(number, {k: np.concatenate([f[k] for f in found] or none) for k in ("image", "text")})
            if progress is not None:
                progress((shard.start + block.stop) if world_size == 1 else block.stop * world_size, len(mixture))

    slots = {"caption": lambda position: len(mixture[position].captions)}
    return opened_or_written(TeacherStore, path, facts, mixture.ids, arrays, work, slots=slots, rank=rank)


def _targets(
    meta: MetaTeacher, base: Any, regions: RegionStore, rows: np.ndarray, texts: list[str], device: torch.device
) -> dict[str, np.ndarray]:
    found = regions.lookup(rows, int(regions.meta["max_regions"]))
    text, tokens, mask = token_embeddings(base, base.tokenizer(texts).to(device))
    named = {"regions": "features", "region_mask": "mask", "region_scores": "scores", "region_areas": "areas"}
    inputs = {name: torch.as_tensor(found[key]).to(device) for name, key in named.items()}
    image = meta(*meta.inputs({**inputs, "tokens": tokens.float(), "token_mask": mask, "text": text.float()}))
    targets = {"image": image, "text": text.float()}
    return {name: normalize(value, dim=1).cpu().numpy() for name, value in targets.items()}


def _facts(meta: MetaTeacher, base: Any, regions: RegionStore, mixture: Mixture, world_size: int) -> dict[str, Any]:
    from clipdistill.models import fingerprint

    width = int(base.embed_dim)
    facts = store_facts(
        base, mixture, AugmentPlan(crop_scale=None), teacher_fingerprint=f"{meta.fingerprint()}-{fingerprint(base)}",
        features="embedding", widths=(width, width), dtype="float16", world_size=world_size,
    )  # fmt: skip
    seen = [str(regions.meta[name]) for name in ("provider_key", "min_score", "max_regions", "crop")]
    return facts | {"teacher": "meta-teacher", "pairs": True, "regions": " ".join(seen)}
