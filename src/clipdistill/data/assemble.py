"""Making one batch: runs in the DataLoader's workers, so all that it holds can be pickled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from clipdistill.data.draws import integer, turn
from clipdistill.data.hard_negatives import hard_negatives
from clipdistill.data.mixture import Mixture
from clipdistill.data.sample import BadImage, Sample
from clipdistill.data.sources.base import Source
from clipdistill.data.transforms import AugmentPlan, AugmentRecord, ImageView, apply_array, decode_size
from clipdistill.errors import UserError

ATTEMPTS = 100
"""Stand-ins tried for one bad sample before the data is taken to be unreadable as a whole."""

TOKEN_ROWS = 32_768
"""Captions whose tokens are kept in each worker; past that, new ones are tokenised each time."""


class BatchMaker:
    """(epoch, positions of a global batch) -> this rank's batch; see `Loader.epoch` for what is in it."""

    def __init__(
        self,
        data: Mixture | Source,
        images: Mapping[str, ImageView],
        tokenizers: Mapping[str, Callable[[list[str]], torch.Tensor]],
        plan: AugmentPlan | None,
        seed: int,
        batch_size: int,
        rank: int,
        negatives: int = 0,
    ) -> None:
        self.data = data
        self.negatives = negatives
        self.plan = plan
        self.seed = seed
        self.slice = slice(rank * batch_size, (rank + 1) * batch_size)
        self.views = list(dict.fromkeys(images.values()))
        self.image_roles = {role: self.views.index(view) for role, view in images.items()}
        self.tokenizers: list[Callable[[list[str]], torch.Tensor]] = []
        self.text_roles = {}
        for role, tokenizer in tokenizers.items():
            known = [i for i, other in enumerate(self.tokenizers) if _same(tokenizer, other)]
            if not known:
                self.tokenizers.append(tokenizer)
            self.text_roles[role] = known[0] if known else len(self.tokenizers) - 1
        self._tokens: list[dict[str, torch.Tensor]] = [{} for _ in self.tokenizers]
        self._in_order = False

    def in_order(self) -> BatchMaker:
        """Return one that leaves bad samples out instead of replacing them, and takes a view number for the epoch."""
        other = copy.copy(self)
        other._in_order = True
        return other

    def __getitem__(self, job: tuple[int, np.ndarray]) -> dict[str, Any] | UserError:
        try:
            return self._ordered(*job) if self._in_order else self._training(*job)
        except UserError as error:
            return error  # raised again by the Loader: torch would bury it in the worker's traceback

    def _training(self, epoch: int, global_rows: np.ndarray) -> dict[str, Any]:
        plan = self.plan or AugmentPlan()
        rows = global_rows[self.slice]
        taken = {int(row) for row in global_rows}
        pixels = [np.empty((len(rows), *view.size, 3), np.uint8) for view in self.views]
        numbers = np.empty((4, len(rows)), np.int64)  # sample, view, caption, label
        texts, false, bad = [], [], []
        for place, row in enumerate(rows.tolist()):
            wanted, attempt = row, 0
            while True:
                sample = self.data[row]
                view = plan.view_of(sample.id, epoch)
                try:
                    self._draw(sample, plan.record(sample.id, view), pixels, place)
                    break
                except BadImage as error:
                    bad.append({"id": sample.id, "reason": str(error)})
                    row, attempt = self._stand_in(wanted, epoch, attempt, taken, str(error))
            caption = turn(len(sample.captions), epoch, self.seed, "caption", sample.id) if sample.captions else -1
            if caption >= 0:
                texts.append(sample.captions[caption])
                if self.negatives:
                    drawn = integer(2**31, self.seed, "negatives", epoch)
                    false.append(hard_negatives(texts[-1], seed=drawn, sample_id=sample.id, count=self.negatives))
            elif self.tokenizers:
                raise UserError(f"'{sample.id}' has no caption; training on image-text pairs needs one a sample")
            numbers[:, place] = row, view, caption, -1 if sample.label is None else sample.label
        batch = self._batch(numbers, pixels, bad)
        batch["view"], batch["caption"] = torch.from_numpy(numbers[1].copy()), torch.from_numpy(numbers[2].copy())
        tokens = [self._tokenized(number, texts) for number in range(len(self.tokenizers))]
        batch.update({f"text/{role}": tokens[number] for role, number in self.text_roles.items()})
        if false:
            batch |= self._negatives(false)
        return batch

    def _negatives(self, false: list[list[str]]) -> dict[str, torch.Tensor]:
        """Tokens of the false captions, int64 [B, N, L] with empty texts where there are fewer, and which are there."""
        padded = [text for texts in false for text in (*texts, *[""] * (self.negatives - len(texts)))]
        tokens = self._tokenized(self.text_roles["student"], padded)
        there = torch.tensor([[place < len(texts) for place in range(self.negatives)] for texts in false])
        return {"negative/student": tokens.unflatten(0, (len(false), self.negatives)), "has_negative": there}

    def _stand_in(self, wanted: int, epoch: int, attempt: int, taken: set[int], reason: str) -> tuple[int, int]:
        """The next stand-in for position `wanted`: by hash, and none of the global batch's own (a false negative)."""
        while attempt < ATTEMPTS:
            row = integer(len(self.data), self.seed, "stand-in", wanted, epoch, attempt)
            attempt += 1
            if row not in taken or len(taken) >= len(self.data):
                return row, attempt
        raise UserError(f"{ATTEMPTS} stand-ins for one bad sample were bad too (the last: {reason}); check the data")

    def _ordered(self, view_number: int, rows: np.ndarray) -> dict[str, Any]:
        pixels = [np.empty((len(rows), *view.size, 3), np.uint8) for view in self.views]
        numbers = np.full((4, len(rows)), view_number, np.int64)
        captions, bad = [], []
        place = 0
        for row in rows.tolist():
            sample = self.data[row]
            try:
                record = None if self.plan is None else self.plan.record(sample.id, view_number)
                self._draw(sample, record, pixels, place, reduced=self.plan is not None)
            except BadImage as error:
                bad.append({"id": sample.id, "reason": str(error)})
                continue
            numbers[0, place], numbers[3, place] = row, -1 if sample.label is None else sample.label
            captions.append(sample.captions)
            place += 1
        batch = self._batch(numbers[:, :place], [array[:place] for array in pixels], bad)
        batch["captions"] = captions
        return batch

    def _draw(
        self, sample: Sample, record: AugmentRecord | None, into: list[np.ndarray], place: int, reduced: bool = True
    ) -> None:
        """Decode once (a JPEG as small as each view allows) and write every view of the sample to its place."""
        if not self.views:
            return
        sizes = [decode_size(record, view) if reduced else None for view in self.views]
        for array, view, image in zip(into, self.views, sample.image.open_each(sizes), strict=True):
            array[place] = apply_array(image, record, view)

    def _batch(self, numbers: np.ndarray, pixels: list[np.ndarray], bad: list[dict[str, str]]) -> dict[str, Any]:
        batch: dict[str, Any] = {"sample": torch.from_numpy(numbers[0].copy()), "bad": bad}
        if self.data.classes is not None:
            batch["label"] = torch.from_numpy(numbers[3].copy())
        images = [torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2))) for array in pixels]
        batch.update({f"image/{role}": images[number] for role, number in self.image_roles.items()})
        return batch

    def _tokenized(self, number: int, texts: list[str]) -> torch.Tensor:
        """Tokens of `texts`, int64 [B, L], from the cache where they are known."""
        kept = self._tokens[number]
        missing = [text for text in dict.fromkeys(texts) if text not in kept]
        fresh = dict(zip(missing, self.tokenizers[number](missing), strict=True)) if missing else {}
        tokens = torch.stack([kept[text] if text in kept else fresh[text] for text in texts])
        if len(kept) < TOKEN_ROWS:
            # Rows are cloned: a view would keep its whole batch of tokens alive.
            kept.update({text: row.clone() for text, row in fresh.items()})
        return tokens


def _same(one: Any, other: Any) -> bool:
    """Whether two tokenizers give the same tokens: the same object, or the same `tokenizer_key` of their own."""
    key = getattr(one, "tokenizer_key", None)
    return one == other or (key is not None and key == getattr(other, "tokenizer_key", None))
