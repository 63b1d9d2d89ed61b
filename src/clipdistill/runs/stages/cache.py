"""Caching: the targets of one teacher for every view and caption, written into its store."""

from __future__ import annotations

from pathlib import Path

from clipdistill.engine.tracking import Meter
from clipdistill.runs.parts import Parts
from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.runs.teachers import TeacherState


class Cache(Stage):
    """Run a teacher once over the data. Stores are shared: one that another run is writing is waited for."""

    SHARED = True

    def __init__(self, parts: Parts, state: TeacherState, batch_size: int = 128) -> None:
        self.parts, self.state, self.batch_size = parts, state, batch_size
        self.path = Path(str(state.spec.store))

    @property
    def label(self) -> str:
        """What it is called where stages are listed."""
        return f"store of {self.state.spec.label}"

    @property
    def place(self) -> str:
        """The store's folder."""
        return str(self.path)

    def done(self) -> bool:
        """Whether the store is written, and was found to fit."""
        return self.state.store is not None

    def forecast(self) -> Forecast:
        """What the teacher says that it costs."""
        if self.done():
            return Forecast("the teacher's store")
        seconds, size = self.state.cost(self.parts.data, self.parts.plan, self.parts.ranks.device)
        return Forecast("the teacher's store", seconds=seconds, disk_bytes=size)

    def run(self) -> None:
        """Each rank its share."""
        ranks, data, recipe = self.parts.ranks, self.parts.data, self.parts.recipe.data
        with Meter(f"caching {self.state.spec.label}", len(data.mixture), quiet=not ranks.is_main) as meter:
            self.state.store = self.state.write(
                data, self.parts.plan, batch_size=self.batch_size, workers=recipe.workers, ranks=ranks,
                max_bad_share=recipe.max_bad_share, progress=meter.reach,
            )  # fmt: skip

    def hand_on(self) -> None:
        """What the teacher could not read has no targets."""
        assert self.state.store is not None
        self.parts.data.leave_out(self.state.store.bad)
