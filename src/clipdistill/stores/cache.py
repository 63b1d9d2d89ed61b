"""Writing a TeacherStore: run a teacher once over every view and caption of a mixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdistill.data import AugmentPlan, ImageView, Mixture, evaluation_batches
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.encoder import Encoder, evaluating
from clipdistill.stores.facts import fixed_views, store_facts
from clipdistill.stores.store import opened_or_written
from clipdistill.stores.targets import TeacherStore
from clipdistill.stores.writer import BLOCK_ROWS, ShardWriter

Progress = Callable[[int, int], None]
Bad = list[dict[str, str]]


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
            model, mixture, plan, teacher_fingerprint=fingerprint, features=features, widths=widths, dtype=dtype,
            world_size=world_size, fields=fields,
        )  # fmt: skip
        job = _Job(encoder, mixture, plan, batch_size, workers, max_bad_share, progress)
        # Whole batches a block, so that a run taken up again encodes the same batches and gets the same bits.
        block_rows = batch_size * max(1, BLOCK_ROWS // batch_size)
        return opened_or_written(
            TeacherStore, path, facts, mixture.ids, _arrays(facts), job.run,
            slots={"caption": lambda position: len(mixture[position].captions)}, rank=rank, block_rows=block_rows,
        )  # fmt: skip


def _arrays(facts: dict[str, Any]) -> list[ArraySpec]:
    image = ArraySpec("image", int(facts["embed_dim"]), "view", str(facts["dtype"]))
    text = ArraySpec("text", int(facts["text_dim"]), "caption", str(facts["dtype"]))
    lengths = [ArraySpec(f"{one.name}_length", 1, one.key, "float32") for one in (image, text)]
    return [image, text, *(lengths if facts["features"] == "tower" else [])]


@dataclass
class _Job:
    """One rank's share: texts first, then view after view, block by block. See `cache_teacher` for the fields."""

    encoder: Encoder
    mixture: Mixture
    plan: AugmentPlan
    batch_size: int
    workers: int
    max_bad_share: float
    progress: Progress | None

    def run(self, shard: ShardWriter) -> None:
        """Encode what is missing of a shard."""
        self.shard, self.start, views = shard, shard.start, int(shard.facts["views"])
        self._total, self._done = shard.samples * views + shard.slots("caption"), 0
        self._text()
        for view in range(views):
            self._image(view)

    def _text(self) -> None:
        for number, block in enumerate(self.shard.blocks):
            texts = [text for row in block for text in self.mixture[self.start + row].captions]
            if not self.shard.is_done("text", number):
                unique = list(dict.fromkeys(texts))  # templates give the same caption to many samples
                pieces = [
                    self.encoder.text(unique[at : at + self.batch_size])
                    for at in range(0, len(unique), self.batch_size)
                ] or [self._none("text_dim")]
                place = {text: row for row, text in enumerate(unique)}
                order = np.array([place[text] for text in texts], np.int64)
                rows, lengths = (np.concatenate([piece[k] for piece in pieces])[order] for k in (0, 1))
                self.shard.write(number, self._arrays("text", rows, lengths))
            self._advance(len(texts))

    def _image(self, view: int) -> None:
        numbers = [k for k in range(len(self.shard.blocks)) if not self.shard.is_done("image", k, view)]
        blocks = [self.shard.blocks[k] for k in numbers]
        self._advance(self.shard.samples - sum(map(len, blocks)))
        batches = self._batches(blocks, view)
        for number, block in zip(numbers, blocks, strict=True):
            rows, lengths = self._none("embed_dim", len(block))
            seen, bad = 0, []
            while seen < len(block):
                positions, unit, length, failed = next(batches)
                rows[positions - block.start], lengths[positions - block.start] = unit, length
                seen += len(positions) + len(failed)
                bad += failed
                self._advance(len(positions) + len(failed))
            self.shard.write(number, self._arrays("image", rows, lengths), view=view, bad=bad)
            self.shard.stop_if_too_bad(self.max_bad_share)

    def _batches(self, blocks: list[range], view: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Bad]]:
        """(local rows, unit rows, lengths, bad) of each batch; no batch crosses from one block to the next."""
        if not blocks:
            return
        # Blocks begun with another batch size: the largest that divides them and isn't larger than asked.
        whole = self.shard.block_rows
        size = next(size for size in range(min(self.batch_size, whole), 0, -1) if whole % size == 0)
        seen_as = ImageView.from_preprocess(self.shard.facts["preprocess"])
        rows = self.start + np.concatenate([np.asarray(block, dtype=np.int64) for block in blocks])
        for batch in evaluation_batches(
            self.mixture, seen_as, size, self.workers, plan=self.plan, plan_view=view, rows=rows
        ):
            positions = batch["sample"].numpy() - self.start
            readable = len(positions) > 0  # else no picture of the batch is
            unit, length = self.encoder.image(batch["image/model"]) if readable else self._none("embed_dim")
            yield positions, unit, length, batch["bad"]

    def _none(self, width: str, rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((rows, int(self.shard.facts[width])), np.float32), np.zeros((rows, 1), np.float32)

    def _arrays(self, name: str, rows: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        tower = self.shard.facts["features"] == "tower"
        return {name: rows, f"{name}_length": lengths} if tower else {name: rows}

    def _advance(self, inputs: int) -> None:
        self._done += inputs
        if self.progress is not None:
            self.progress(len(self.mixture) * self._done // max(1, self._total), len(self.mixture))
