"""Making one batch: runs in the DataLoader's workers, so all that it holds can be pickled."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from clipdistill.data.decode import ORIGINAL_SIZE
from clipdistill.data.draws import integer, turn
from clipdistill.data.fields import Draw, Field
from clipdistill.data.mixture import Mixture
from clipdistill.data.sample import BadImage, Sample
from clipdistill.data.sources.base import Source
from clipdistill.data.transforms import AugmentPlan, AugmentRecord, apply_array, decode_size
from clipdistill.errors import UserError

ATTEMPTS = 100
"""Stand-ins tried for one bad sample before the data is taken to be unreadable as a whole."""


class BatchMaker:
    """(epoch, positions of a global batch) -> this rank's batch; see `Loader.epoch` for what is in it."""

    def __init__(
        self,
        data: Mixture | Source,
        fields: Mapping[str, Field],
        plan: AugmentPlan | None,
        seed: int,
        batch_size: int,
        rank: int,
    ) -> None:
        self.data = data
        self.plan = plan
        self.seed = seed
        self.slice = slice(rank * batch_size, (rank + 1) * batch_size)
        self.fields: list[Field] = []
        self.names: dict[str, int] = {}  # entry of a batch -> which of the fields
        for name, each in fields.items():
            if each not in self.fields:
                self.fields.append(each)
            self.names[name] = self.fields.index(each)
        self.views = list(dict.fromkeys(each.view for each in self.fields if each.view is not None))
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
        taken = {int(row) for row in global_rows}
        draws, parts, bad = [], [], []
        for wanted in global_rows[self.slice].tolist():
            row, attempt = wanted, 0
            while True:
                sample = self.data[row]
                view = plan.view_of(sample.id, epoch)
                caption = turn(len(sample.captions), epoch, self.seed, "caption", sample.id) if sample.captions else -1
                draw = Draw(self.seed, row, epoch, view, caption, bare=self._is_bare(row))
                try:
                    parts.append(self._parts(sample, draw, plan.record(sample.id, view)))
                    break
                except BadImage as error:
                    bad.append({"id": sample.id, "reason": str(error)})
                    row, attempt = self._stand_in(wanted, epoch, attempt, taken, str(error))
            draws.append(draw)
        batch = self._batch(draws, parts, bad)
        batch["view"] = torch.tensor([draw.view for draw in draws])
        batch["caption"] = torch.tensor([draw.caption for draw in draws])
        return batch

    def _is_bare(self, row: int) -> bool:
        return isinstance(self.data, Mixture) and self.data.is_bare(row)

    def _stand_in(self, wanted: int, epoch: int, attempt: int, taken: set[int], reason: str) -> tuple[int, int]:
        """The next stand-in for position `wanted`: by hash, and none of the global batch's own (a false negative)."""
        while attempt < ATTEMPTS:
            row = integer(len(self.data), self.seed, "stand-in", wanted, epoch, attempt)
            attempt += 1
            if row not in taken or len(taken) >= len(self.data):
                return row, attempt
        raise UserError(f"{ATTEMPTS} stand-ins for one bad sample were bad too (the last: {reason}); check the data")

    def _ordered(self, view: int, rows: np.ndarray) -> dict[str, Any]:
        draws, parts, bad = [], [], []
        for row in rows.tolist():
            sample, draw = self.data[row], Draw(self.seed, row, 0, view, -1)
            record = None if self.plan is None else self.plan.record(sample.id, view)
            try:
                parts.append(self._parts(sample, draw, record, reduced=self.plan is not None))
            except BadImage as error:
                bad.append({"id": sample.id, "reason": str(error)})
                continue
            draws.append(draw)
        return self._batch(draws, parts, bad)

    def _parts(self, sample: Sample, draw: Draw, record: AugmentRecord | None, reduced: bool = True) -> list[Any]:
        """Decode once (a JPEG as small as each view allows) and draw every field's part of the sample."""
        if self.views:
            sizes = [decode_size(record, view) if reduced else None for view in self.views]
            images = sample.image.open_each(sizes)
            draw.size, draw.record = images[0].info.get(ORIGINAL_SIZE, images[0].size), record
            draw.pictures = {
                view: apply_array(image, record, view) for view, image in zip(self.views, images, strict=True)
            }
        parts = [each.row(sample, draw) for each in self.fields]
        draw.pictures = {}
        return parts

    def _batch(self, draws: Sequence[Draw], parts: Sequence[list[Any]], bad: list[dict[str, str]]) -> dict[str, Any]:
        batch: dict[str, Any] = {
            "sample": torch.tensor([draw.position for draw in draws], dtype=torch.int64),
            "bad": bad,
        }
        made = [each.collate([part[number] for part in parts]) for number, each in enumerate(self.fields)]
        for name, number in self.names.items():
            batch |= made[number] if isinstance(made[number], dict) else {name: made[number]}
        return batch
