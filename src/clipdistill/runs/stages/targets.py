"""Targets of a teacher that the run made: one for every picture and caption, in a store in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clipdistill.engine.forecast import no_trace, seconds_of
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError
from clipdistill.evaluate.leakage import target_leakage
from clipdistill.files import write_json
from clipdistill.kinds import open_trained
from clipdistill.models import fingerprint
from clipdistill.recipe import MetaSpec
from clipdistill.runs.folder import trained_epoch
from clipdistill.runs.parts import Parts
from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.runs.stages.fit import Fit
from clipdistill.runs.teachers import TeacherState
from clipdistill.stores import TeacherStore
from clipdistill.stores.pairs import cache_pairs


class Targets(Stage):
    """Store the targets of the run's own teacher, or of another run's (`meta.run`).

    They lie with the student, whoever made the teacher: they belong to this run's data and regions.

    Args:
        parts: the student's. fit: the teacher's training, in `folder`. base: the frozen model it stands on.
    """

    def __init__(self, parts: Parts, state: TeacherState, base: Any, fit: Fit, folder: Path) -> None:
        assert state.spec.meta is not None
        self.parts, self.state, self.base, self.fit, self.folder = parts, state, base, fit, folder
        self.meta: MetaSpec = state.spec.meta

    @property
    def label(self) -> str:
        """What it is called where stages are listed."""
        return "the meta-teacher's targets"

    def check(self) -> None:
        """A teacher of another run must stand on this recipe's model."""
        if self.meta.run is not None:
            self._teacher()

    def done(self) -> bool:
        """Never taken for granted: a store that is there is opened and compared."""
        return False

    def forecast(self) -> Forecast:
        """One timed batch of the teacher, times all captions."""
        captions, width = self.parts.data.mixture.caption_count(), int(self.base.embed_dim)
        if (self.folder / "targets" / "store.json").is_file():
            return Forecast("its targets")
        if self.fit.dry_task is None:  # another run trained the teacher
            self.fit.forecast()
        task, batch = self.fit.dry_task, self.fit.dry_batch
        assert task is not None
        device = self.parts.ranks.device
        moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        with no_trace(task, device), torch.no_grad():
            task.encode(moved)
            seconds = seconds_of(lambda: task.encode(moved), device) / len(batch["sample"])
        # Two rows of half precision a caption.
        return Forecast(
            "its targets", seconds * captions / self.parts.ranks.world_size, disk_bytes=captions * 4 * width
        )

    def run(self) -> None:
        """Each rank its share; then how well captions can be told from the targets is noted beside them."""
        ranks, data = self.parts.ranks, self.parts.data
        teacher = self._teacher().to(ranks.device)
        teacher.requires_grad_(False).eval()
        with Meter("caching the meta-teacher's targets", len(data.kept), quiet=not ranks.is_main) as meter:
            cache_pairs(
                teacher, self.base, data.kept.regions, data.kept, self.folder / "targets",
                device=ranks.device, rank=ranks.rank, world_size=ranks.world_size, progress=meter.reach,
            )  # fmt: skip
        ranks.barrier()

    def hand_on(self) -> None:
        """The student's teacher has a store from now on."""
        self.state.store = TeacherStore.open(self.folder / "targets")
        if self.parts.ranks.is_main:
            write_json(self.folder / "targets.json", target_leakage(self.parts.data.kept, self.state.store))

    def _teacher(self) -> Any:
        meta = self.meta
        if meta.run is None:
            return open_trained(trained_epoch(self.folder, meta.epoch))
        teacher = open_trained(trained_epoch(meta.run, meta.epoch))
        if teacher.config["width"] != int(self.base.embed_dim) or teacher.base not in (None, fingerprint(self.base)):
            raise UserError(
                f"{meta.run}: its teacher stands on another model than {self.base.name}; give `student.model` as that "
                "run had it"
            )
        return teacher
