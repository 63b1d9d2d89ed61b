"""The work of writing a teacher's targets: one rank's share, encoded and written block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from clipdistill.data import AugmentPlan, ImageView, Mixture, evaluation_batches
from clipdistill.errors import UserError
from clipdistill.stores.encoder import Encoder
from clipdistill.stores.writer import ShardWriter

Progress = Callable[[int, int], None]


class Job:
    """One rank's share: texts first, then view after view, block by block. See `cache_teacher` for the arguments."""

    def __init__(
        self,
        encoder: Encoder,
        mixture: Mixture,
        plan: AugmentPlan,
        shard: ShardWriter,
        batch_size: int,
        workers: int,
        max_bad_share: float,
        progress: Progress | None,
    ) -> None:
        self.encoder, self.mixture, self.plan, self.shard = encoder, mixture, plan, shard
        self.batch_size, self.workers, self.max_bad_share = batch_size, workers, max_bad_share
        self.progress = progress
        self.views, self.start = int(shard.facts["views"]), shard.start
        self.view = ImageView.from_preprocess(shard.facts["preprocess"])
        self.keeps_lengths = shard.facts["features"] == "tower"
        self._total = shard.samples * self.views + shard.slots("caption")
        self._done = 0

    def run(self) -> None:
        """Encode what is missing and mark the shard as complete."""
        self._text()
        for view in range(self.views):
            self._image(view)
        self.shard.finish()

    def _text(self) -> None:
        for number, block in enumerate(self.shard.blocks()):
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
                self._check(rows, lengths, texts)
                self.shard.write(number, self._arrays("text", rows, lengths))
            self._advance(len(texts))

    def _image(self, view: int) -> None:
        numbers = [k for k in range(len(self.shard.blocks())) if not self.shard.is_done("image", k, view)]
        blocks = [self.shard.blocks()[k] for k in numbers]
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
            self._check(rows, lengths, self.mixture.ids[self.start + block.start : self.start + block.stop])
            self.shard.write(number, self._arrays("image", rows, lengths), view=view, bad=bad)
            self.shard.stop_if_too_bad(self.max_bad_share)

    def _batches(self, blocks: list[range], view: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, list]]:
        """(local rows, unit rows, lengths, bad) of each batch; no batch crosses from one block to the next."""
        if not blocks:
            return
        # Blocks begun with another batch size: the largest that divides them and isn't larger than asked.
        whole = self.shard.block_rows
        size = next(size for size in range(min(self.batch_size, whole), 0, -1) if whole % size == 0)
        rows = self.start + np.concatenate([np.asarray(block, dtype=np.int64) for block in blocks])
        for batch in evaluation_batches(
            self.mixture, self.view, size, self.workers, plan=self.plan, plan_view=view, rows=rows
        ):
            positions = batch["sample"].numpy() - self.start
            readable = len(positions) > 0  # else no picture of the batch is
            unit, length = self.encoder.image(batch["image/model"]) if readable else self._none("embed_dim")
            yield positions, unit, length, batch["bad"]

    def _none(self, width: str, rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((rows, int(self.shard.facts[width])), np.float32), np.zeros((rows, 1), np.float32)

    def _arrays(self, name: str, rows: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        return {name: rows, f"{name}_length": lengths} if self.keeps_lengths else {name: rows}

    def _check(self, rows: np.ndarray, lengths: np.ndarray, names: Sequence[str]) -> None:
        broken = ~(np.isfinite(rows).all(axis=1) & np.isfinite(lengths[:, 0]))
        if broken.any():
            raise UserError(
                f"{self.shard.folder}: the teacher {self.shard.facts['teacher']} gives NaN or infinity for "
                f"{names[int(broken.argmax())]!r}; check its weights and the input"
            )

    def _advance(self, inputs: int) -> None:
        self._done += inputs
        if self.progress is not None:
            self.progress(len(self.mixture) * self._done // max(1, self._total), len(self.mixture))
