"""Writing a TeacherStore: run a teacher once over every view and caption of a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clipdistill.data import AugmentPlan, Mixture
from clipdistill.stores.arrays import SUFFIX, ArraySpec
from clipdistill.stores.encoder import Encoder, evaluating
from clipdistill.stores.facts import fixed_views, require_same, store_facts
from clipdistill.stores.job import Job, Progress
from clipdistill.stores.shards import join
from clipdistill.stores.targets import TeacherStore
from clipdistill.stores.writer import BLOCK_ROWS, ShardWriter


def cache_teacher(
    model: Any,
    mixture: Mixture,
    plan: AugmentPlan | None,
    path: str | Path,
    *,
    batch_size: int = 256,
    workers: int = 0,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    dtype: str = "float16",
    features: str = "embedding",
    fields: Sequence[str] = (),
    fingerprint: str | None = None,
    max_bad_share: float = 0.01,
    progress: Progress | None = None,
) -> TeacherStore | None:
    """Write (or go on writing) the store of a teacher's targets; each rank calls this with its number.

    Every rank encodes a contiguous share of the samples into a folder of its own and notes each block once it is safe
    on the disk. Run again after a kill, it goes on with the first missing block and leaves the same bytes. A store
    that is complete and fits is opened and nothing is run; one that another process is writing is waited for.

    Args:
        model: a DualEncoder (its own preprocessing and tokenizer are used).
        plan: the augmentation that students will see; K = its number of views. None means no augmentation.
        path: the store's folder.
        batch_size: inputs that the teacher encodes at once.
        dtype: "float16", or "float32" at twice the size.
        features: "embedding", or "tower" for a joined model's features before its projections (for locked-image
            tuning; image and text rows may differ in width and keep their lengths).
        fields: names of the samples' fields that the targets depend on; the store is stale once their values change.
        fingerprint: of the teacher; None = `clipdistill.models.fingerprint(model)`. Must be given for tower features:
            of the towers alone, since their projections will change.
        max_bad_share: share of this rank's pictures that may be unreadable.
        progress: called with (done, total) in samples of the whole mixture, all ranks taken to run alike.

    Returns:
        The opened store, or None while other ranks are still at work.

    Raises:
        UserError: a plan without a fixed number of views, a folder that holds another store (says what differs), too
            little disk, too many bad pictures, a teacher that gives NaN or infinity.
    """
    plan, path, device = plan or AugmentPlan(), Path(path), torch.device(device)
    if dtype not in SUFFIX:
        raise ValueError(f"dtype must be one of {tuple(SUFFIX)}, got {dtype!r}")
    if not 0 <= rank < world_size or batch_size < 1:
        raise ValueError(f"rank {rank} of {world_size} with batch_size {batch_size} can't be")
    fixed_views(plan)  # the cheapest mistake to find
    if fingerprint is None:
        if features == "tower":
            raise ValueError("features='tower' needs the fingerprint of the towers: the model's covers its projections")
        from clipdistill.models import fingerprint as model_fingerprint

        fingerprint = model_fingerprint(model)
    model.to(device)
    encoder = Encoder(model, features, device)
    with evaluating(model):
        widths = encoder.widths() if features == "tower" else (int(model.embed_dim),) * 2
        facts = store_facts(
            model,
            mixture,
            plan,
            teacher_fingerprint=fingerprint,
            features=features,
            widths=widths,
            dtype=dtype,
            world_size=world_size,
            fields=fields,
        )
        if (path / "store.json").is_file():
            store = TeacherStore.open(path)
            require_same(path, store.meta, facts)
            return store
        with ShardWriter(
            path,
            facts,
            mixture.ids,
            _arrays(facts),
            slots={"caption": lambda position: len(mixture[position].captions)},
            rank=rank,
            # Whole batches a block, so that a run taken up again encodes the same batches and gets the same bits.
            block_rows=batch_size * max(1, BLOCK_ROWS // batch_size),
        ) as shard:
            Job(encoder, mixture, plan, shard, batch_size, workers, max_bad_share, progress).run()
            complete = join(path, world_size)
    return TeacherStore.open(path) if complete else None


def _arrays(facts: dict[str, Any]) -> list[ArraySpec]:
    image = ArraySpec("image", int(facts["embed_dim"]), "view", str(facts["dtype"]))
    text = ArraySpec("text", int(facts["text_dim"]), "caption", str(facts["dtype"]))
    lengths = [ArraySpec(f"{one.name}_length", 1, one.key, "float32") for one in (image, text)]
    return [image, text, *(lengths if facts["features"] == "tower" else [])]
