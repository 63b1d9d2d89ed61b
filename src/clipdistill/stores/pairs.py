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
from clipdistill.files import require_space
from clipdistill.models.meta_teacher import MetaTeacher
from clipdistill.models.token_embeddings import token_embeddings
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.facts import require_same, store_facts
from clipdistill.stores.regions import RegionStore
from clipdistill.stores.shard_writer import BLOCK_ROWS, ShardWriter
from clipdistill.stores.store import TeacherStore, finish, shard_folder


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
    if (path / "store.json").is_file():
        store = TeacherStore.open(path)
        require_same(path, store.meta, facts)
        return store
    start, stop = len(mixture) * rank // world_size, len(mixture) * (rank + 1) // world_size
    captions = [mixture[i].captions for i in range(start, stop)]
    counts = [len(texts) for texts in captions]
    arrays = [ArraySpec(name, sum(counts), int(base.embed_dim)) for name in ("image", "text")]
    require_space(path, sum(spec.bytes for spec in arrays) * world_size, "the store")
    folder = shard_folder(path, rank, world_size)
    shard = ShardWriter(folder, facts, mixture.ids[start:stop], start, counts, arrays, BLOCK_ROWS)
    store_rows = regions.rows(mixture.ids[start:stop])
    if (store_rows < 0).any():
        raise UserError(f"{regions.path}: lacks regions of {mixture.ids[start + int((store_rows < 0).argmax())]}")
    try:
        for number, block in enumerate(shard.blocks()):
            if not shard.is_done(f"pairs/{number}"):
                owner = np.repeat(np.asarray(block), counts[block.start : block.stop])
                texts = [text for row in block for text in captions[row]]
                rows = store_rows[owner]
                pieces = [slice(at, at + batch_size) for at in range(0, len(texts), batch_size)]
                found = [_targets(meta, base, regions, rows[piece], texts[piece], device) for piece in pieces]
                image, text = (np.concatenate([part[k] for part in found]) for k in (0, 1))
                at = int(shard.offsets[block.start])
                shard.write(f"pairs/{number}", {"image": (at, image), "text": (at, text)})
            if progress is not None:
                progress((start + block.stop) if world_size == 1 else block.stop * world_size, len(mixture))
        shard.finish()
    finally:
        shard.close()
    return finish(path, world_size)


def _targets(
    meta: MetaTeacher, base: Any, regions: RegionStore, rows: np.ndarray, texts: list[str], device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    found = regions.lookup(rows, int(regions.meta["max_regions"]))
    text, tokens, mask = token_embeddings(base, base.tokenizer(texts).to(device))
    named = {"regions": "features", "region_mask": "mask", "region_scores": "scores", "region_areas": "areas"}
    inputs = {name: torch.as_tensor(found[key]).to(device) for name, key in named.items()}
    image = meta(*meta.inputs({**inputs, "tokens": tokens.float(), "token_mask": mask, "text": text.float()}))
    return normalize(image, dim=1).cpu().numpy(), normalize(text.float(), dim=1).cpu().numpy()


def _facts(meta: MetaTeacher, base: Any, regions: RegionStore, mixture: Mixture, world_size: int) -> dict[str, Any]:
    from clipdistill.models import fingerprint

    width = int(base.embed_dim)
    facts = store_facts(
        base, mixture, AugmentPlan(crop_scale=None), teacher_fingerprint=f"{meta.fingerprint()}-{fingerprint(base)}",
        features="embedding", widths=(width, width), dtype="float16", world_size=world_size,
    )  # fmt: skip
    seen = [str(regions.meta[name]) for name in ("provider_key", "min_score", "max_regions")]
    return facts | {"teacher": "meta-teacher", "pairs": True, "regions": " ".join(seen)}
