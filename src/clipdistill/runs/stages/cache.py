"""Caching: the targets of one teacher for every view and caption, written into its store."""

from __future__ import annotations

from pathlib import Path

from clipdistill.engine.tracking import Meter
from clipdistill.runs.parts import Parts
from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.runs.teachers import TeacherState
from clipdistill.stores import TeacherStore, cache_teacher


class Cache(Stage):
    """Run a teacher once over the data. Stores are shared: one that another run is writing is waited for."""

    SHARED = True

    def __init__(self, parts: Parts, state: TeacherState, batch_size: int = 128) -> None:
        self.parts, self.state, self.batch_size = parts, state, batch_size
        self.path = Path(str(state.spec.store))

    def done(self) -> bool:
        """Whether the store is written, and was found to fit."""
        return self.state.store is not None

    def forecast(self) -> Forecast:
        """One timed batch, times all pictures and views."""
        if self.done():
            return Forecast("the teacher's store")
        mixture, device, views = self.parts.data.mixture, self.parts.ranks.device, self.parts.plan.count or 1
        return Forecast(
            "the teacher's store",
            seconds=self.state.caching_seconds(device) * len(mixture) * views,
            disk_bytes=self.state.store_bytes(len(mixture), views, mixture.caption_count(), device),
        )

    def run(self) -> None:
        """Each rank its share."""
        ranks, mixture = self.parts.ranks, self.parts.data.mixture
        model = self.state.model
        assert model is not None
        with Meter(f"caching {self.state.spec.label}", len(mixture), quiet=not ranks.is_main) as meter:
            cache_teacher(
                model.to(ranks.device), mixture, self.parts.plan, self.path,
                batch_size=self.batch_size, workers=self.parts.recipe.data.workers, device=ranks.device,
                rank=ranks.rank, world_size=ranks.world_size, features=self.state.features, fields=self.state.reads,
                fingerprint=self.state.fingerprint(), max_bad_share=self.parts.recipe.data.max_bad_share,
                progress=meter.reach,
            )  # fmt: skip
        ranks.barrier()
        self.state.store = TeacherStore.open(self.path)

    def hand_on(self) -> None:
        """What the teacher could not read has no targets."""
        assert self.state.store is not None
        self.parts.data.leave_out(self.state.store.bad)
