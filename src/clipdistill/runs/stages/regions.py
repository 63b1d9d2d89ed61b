"""Regions: found in every training picture, their crops embedded by a frozen model, in a store of their own."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

from clipdistill.data import Mixture
from clipdistill.engine.forecast import seconds_of
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError
from clipdistill.report.region_pictures import draw_regions
from clipdistill.runs.parts import Parts
from clipdistill.runs.regions import open_regions, region_spec
from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.stores.encoder import evaluating
from clipdistill.stores.region_cache import cache_regions
from clipdistill.stores.region_crops import Crops
from clipdistill.stores.regions import DryRegions, RegionStore

TIMED = 8
"""Pictures whose regions are found to time it."""


class FindRegions(Stage):
    """Write the recipe's region store. It depends on the model and the data alone, and runs share it.

    Args:
        base: the pretrained model, frozen, that embeds the crops.
        sheet: gets a picture of some of them, for the report; None = none.
    """

    def __init__(self, parts: Parts, base: Any, sheet: Path | None = None, batch_size: int = 128) -> None:
        self.parts, self.base, self.sheet, self.batch_size = parts, base, sheet, batch_size
        self.spec = region_spec(parts.recipe)

    def done(self) -> bool:
        """Never taken for granted: a store that is there is opened and compared, which costs little."""
        return False

    def forecast(self) -> Forecast:
        """The regions of a few pictures, times all."""
        written = (self.spec.store / "store.json").is_file()
        samples, width = len(self.parts.data.whole), int(self.base.embed_dim)
        return Forecast(
            "regions",
            seconds=0.0 if written else self._seconds_a_picture() * samples / self.parts.ranks.world_size,
            disk_bytes=0 if written else samples * self.spec.max_regions * (2 * width + 40),
        )

    def run(self) -> None:
        """Find and embed what is missing, each rank its share."""
        ranks, spec, mixture = self.parts.ranks, self.spec, self.parts.data.whole
        with Meter(f"regions ({spec.provider})", len(mixture), quiet=not ranks.is_main) as meter:
            try:
                cache_regions(
                    self.base, mixture, open_regions(spec, ranks.device), spec.store,
                    min_score=spec.min_score, max_regions=spec.max_regions, crop=spec.crop,
                    batch_size=self.batch_size, device=ranks.device, rank=ranks.rank, world_size=ranks.world_size,
                    max_bad_share=self.parts.recipe.data.max_bad_share, progress=meter.reach,
                )  # fmt: skip
            except UserError as error:
                raise UserError(f"`regions`: {error}") from error
        ranks.barrier()

    def hand_on(self) -> None:
        """Batches may hold regions from now on; pictures that couldn't be read have none."""
        store = RegionStore.open(self.spec.store)
        if self.parts.ranks.is_main and self.sheet is not None:
            draw_regions(self.parts.data.mixture, store, self.sheet)
        self.parts.data.leave_out(store.bad)
        self.parts.data.give_regions(store)

    def _seconds_a_picture(self) -> float:
        spec, device, mixture = self.spec, self.parts.ranks.device, self.parts.data.whole
        count = min(TIMED, len(mixture))
        crops = Crops(
            self.base, device, open_regions(spec, device), spec.min_score, spec.max_regions, spec.crop, 128, count
        )
        with evaluating(self.base):
            crops.of(mixture, range(1))
            return seconds_of(lambda: crops.of(mixture, range(count)), device) / count


def dry_regions(parts: Parts, width: int) -> Mixture:
    """The training data with regions of the right shape, for the forecast of what reads them."""
    mixture = copy(parts.data.mixture)
    mixture.regions = DryRegions(width, region_spec(parts.recipe).max_regions)
    return mixture
