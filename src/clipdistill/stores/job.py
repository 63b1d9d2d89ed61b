"""The work of writing a store: one rank's share, encoded and written block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data import AugmentPlan, ImageView, Mixture, evaluation_batches
from clipdistill.errors import UserError
from clipdistill.files import require_space
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.encoder import Encoder
from clipdistill.stores.shard_writer import BLOCK_ROWS, ShardWriter
from clipdistill.stores.store import shard_folder

Progress = Callable[[int, int], None]


class Job:
    """One rank's share: texts first, then view after view, block by block. See `cache_teacher` for the arguments."""

    def __init__(
        self,
        encoder: Encoder,
        mixture: Mixture,
        plan: AugmentPlan,
        path: Path,
        facts: dict[str, Any],
        rank: int,
        batch_size: int,
        workers: int,
        max_bad_share: float,
        progress: Progress | None,
    ) -> None:
        self.encoder, self.mixture, self.plan = encoder, mixture, plan
        self.batch_size, self.workers, self.max_bad_share = batch_size, workers, max_bad_share
        self.progress = progress
        self.views, world_size = int(facts["views"]), int(facts["world_size"])
        self.view = ImageView.from_preprocess(facts["preprocess"])
        self.keeps_lengths = facts["features"] == "tower"
        self.start, stop = len(mixture) * rank // world_size, len(mixture) * (rank + 1) // world_size
        captions = [len(mixture[i].captions) for i in range(self.start, stop)]
        arrays = _arrays(len(captions), sum(captions), facts)
        folder = shard_folder(path, rank, world_size)
        begun = sum(file.stat().st_blocks * 512 for file in folder.glob("*")) if folder.is_dir() else 0
        need = sum(spec.bytes for spec in arrays) + 64 * len(captions) - begun
        require_space(path, need * world_size, "the store")  # the other ranks' shares are as large as this one
        self.shard = ShardWriter(
            folder,
            facts,
            mixture.ids[self.start : stop],
            self.start,
            captions,
            arrays,
            # Whole batches a block, so that a run taken up again encodes the same batches and gets the same bits.
            block_rows=batch_size * max(1, BLOCK_ROWS // batch_size),
        )
        self._total = self.shard.samples * self.views + sum(captions)
        self._done = 0

    def run(self) -> None:
        """Encode what is missing and mark the shard as complete."""
        self._text()
        for view in range(self.views):
            self._image(view)
        self.shard.finish()

    def _text(self) -> None:
        offsets = self.shard.offsets
        for number, block in enumerate(self.shard.blocks()):
            low, high = int(offsets[block.start]), int(offsets[block.stop])
            if high > low and not self.shard.is_done(f"text/{number}"):
                texts = [text for row in block for text in self.mixture[self.start + row].captions]
                unique = list(dict.fromkeys(texts))  # templates give the same caption to many samples
                pieces = [
                    self.encoder.text(unique[at : at + self.batch_size])
                    for at in range(0, len(unique), self.batch_size)
                ]
                place = {text: row for row, text in enumerate(unique)}
                order = [place[text] for text in texts]
                rows, lengths = (np.concatenate([piece[k] for piece in pieces])[order] for k in (0, 1))
                self._check(rows, lengths, texts)
                self.shard.write(f"text/{number}", self._parts("text", low, rows, lengths))
            self._advance(high - low)

    def _image(self, view: int) -> None:
        numbers = [k for k in range(len(self.shard.blocks())) if not self.shard.is_done(f"image/{view}/{k}")]
        blocks = [self.shard.blocks()[k] for k in numbers]
        self._advance(self.shard.samples - sum(map(len, blocks)))
        batches = self._batches(blocks, view)
        for number, block in zip(numbers, blocks, strict=True):
            rows = np.zeros((len(block), int(self.shard.facts["embed_dim"])), np.float32)
            lengths = np.zeros((len(block), 1), np.float32)
            seen, bad = 0, []
            while seen < len(block):
                positions, unit, length, failed = next(batches)
                rows[positions - block.start], lengths[positions - block.start] = unit, length
                seen += len(positions) + len(failed)
                bad += failed
                self._advance(len(positions) + len(failed))
            self._check(rows, lengths, self.mixture.ids[self.start + block.start : self.start + block.stop])
            at = view * self.shard.samples + block.start
            self.shard.write(f"image/{view}/{number}", self._parts("image", at, rows, lengths), bad)
            self._stop_if_too_bad()

    def _batches(self, blocks: list[range], view: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, list]]:
        """(local rows, unit rows, lengths, bad) of each batch; no batch crosses from one block to the next."""
        if not blocks:
            return
        # Blocks begun with another batch size: the largest that divides them and isn't larger than asked.
        whole = int(self.shard.facts["block_rows"])
        size = next(size for size in range(min(self.batch_size, whole), 0, -1) if whole % size == 0)
        rows = self.start + np.concatenate([np.asarray(block, dtype=np.int64) for block in blocks])
        for batch in evaluation_batches(
            self.mixture, self.view, size, self.workers, plan=self.plan, plan_view=view, rows=rows
        ):
            positions = batch["sample"].numpy() - self.start
            unit, length = np.zeros((0, int(self.shard.facts["embed_dim"])), np.float32), np.zeros((0, 1), np.float32)
            if len(positions):  # no picture of the batch may be readable
                unit, length = self.encoder.image(batch["image/model"])
            yield positions, unit, length, batch["bad"]

    def _parts(self, name: str, at: int, rows: np.ndarray, lengths: np.ndarray) -> dict[str, tuple[int, np.ndarray]]:
        parts = {name: (at, rows)}
        return {**parts, f"{name}_length": (at, lengths)} if self.keeps_lengths else parts

    def _check(self, rows: np.ndarray, lengths: np.ndarray, names: Sequence[str]) -> None:
        broken = ~(np.isfinite(rows).all(axis=1) & np.isfinite(lengths[:, 0]))
        if broken.any():
            raise UserError(
                f"{self.shard.folder}: the teacher {self.shard.facts['teacher']} gives NaN or infinity for "
                f"{names[int(broken.argmax())]!r}; check its weights and the input"
            )

    def _stop_if_too_bad(self) -> None:
        bad = self.shard.bad()
        if len(bad) > self.max_bad_share * self.shard.samples:
            some = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:5])
            raise UserError(
                f"{self.shard.folder}: {len(bad)} of {self.shard.samples} pictures can't be read, more than "
                f"data.max_bad_share = {self.max_bad_share:g} ({some}); mend them or raise the share"
            )

    def _advance(self, inputs: int) -> None:
        self._done += inputs
        if self.progress is not None:
            self.progress(len(self.mixture) * self._done // max(1, self._total), len(self.mixture))


def _arrays(samples: int, captions: int, facts: dict[str, Any]) -> list[ArraySpec]:
    images, dtype = samples * int(facts["views"]), str(facts["dtype"])
    arrays = [
        ArraySpec("image", images, int(facts["embed_dim"]), dtype),
        ArraySpec("text", captions, int(facts["text_dim"]), dtype),
    ]
    if facts["features"] == "tower":
        arrays += [ArraySpec("image_length", images, 1, "float32"), ArraySpec("text_length", captions, 1, "float32")]
    return arrays
