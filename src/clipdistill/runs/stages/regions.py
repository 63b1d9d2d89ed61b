"""Regions: found in every training picture and given features by a frozen model, in a store of their own."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

from clipdistill.data import Mixture
from clipdistill.data.pictures import Pictures
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError
from clipdistill.report.region_pictures import draw_regions
from clipdistill.runs.parts import Parts
from clipdistill.runs.regions import check_files, region_cost, region_maker, region_spec
from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.stores.region_boxes import RegionMaker
from clipdistill.stores.region_cache import write_regions
from clipdistill.stores.regions import DryRegions, RegionStore


class FindRegions(Stage):
    """Write the recipe's region store. It depends on the model and the pictures alone, and runs share it.

    Args:
        base: the pretrained model, frozen, that gives regions their features.
        sheet: gets a picture of some of them, for the report; None = none.
    """

    def __init__(self, parts: Parts, base: Any, sheet: Path | None = None, batch_size: int = 128) -> None:
        self.parts, self.base, self.sheet, self.batch_size = parts, base, sheet, batch_size
        self.spec = region_spec(parts.recipe)

    @property
    def label(self) -> str:
        """What it is called where stages are listed."""
        return "regions"

    @property
    def place(self) -> str:
        """The store's folder."""
        return str(self.spec.store)

    def check(self) -> None:
        """Pictures whose regions a file lacks are named before anything is written."""
        if not (self.spec.store / "store.json").is_file():
            check_files(self.spec, [Pictures(self.parts.data.whole)], self.parts.recipe.data.max_bad_share)

    def done(self) -> bool:
        """Never taken for granted: a store that is there is opened and compared, which costs little."""
        return False

    def forecast(self) -> Forecast:
        """The regions of a few pictures, times all pictures that there are."""
        if (self.spec.store / "store.json").is_file():
            return Forecast("regions")
        ranks, pictures = self.parts.ranks, Pictures(self.parts.data.whole)
        seconds, disk = region_cost(self._maker(), [pictures], self.spec.most, ranks.device)
        return Forecast("regions", seconds / ranks.world_size, disk_bytes=disk)

    def run(self) -> None:
        """Make what is missing, each rank its share."""
        ranks, spec, mixture = self.parts.ranks, self.spec, self.parts.data.whole
        maker = self._maker()
        with Meter(f"regions ({spec.provider})", len(Pictures(mixture)), quiet=not ranks.is_main) as meter:
            try:
                write_regions(
                    maker, mixture, spec.store, rank=ranks.rank, world_size=ranks.world_size,
                    max_bad_share=self.parts.recipe.data.max_bad_share, progress=meter.reach,
                )  # fmt: skip
            except UserError as error:
                raise UserError(f"`regions`: {error}") from error
        ranks.barrier()

    def hand_on(self) -> None:
        """Batches may hold regions from now on; pictures that couldn't be read have none."""
        store = RegionStore.open(self.spec.store)
        if self.parts.ranks.is_main and store.dropped:
            first, why = next(iter(store.dropped.items()))
            print(f"regions: of {len(store.dropped):,} pictures some boxes were left out, such as {first}: {why}")
        if self.parts.ranks.is_main and self.sheet is not None:
            draw_regions(self.parts.data.mixture, store, self.sheet)
        self.parts.data.leave_out(self.parts.data.mixture.showing(store.bad))
        self.parts.data.give_regions(store)

    def _maker(self) -> RegionMaker:
        return region_maker(self.spec, self.base, self.parts.ranks.device, self.batch_size)


def dry_regions(parts: Parts, width: int) -> Mixture:
    """The training data with regions of the right shape, for the forecast of what reads them."""
    mixture = copy(parts.data.mixture)
    mixture.regions = DryRegions(width, region_spec(parts.recipe).most)
    return mixture
