"""The regions of evaluation pictures: opened where a store of them lies, else made as the run's own are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from clipdistill.data import Mixture
from clipdistill.data.pictures import Pictures
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError
from clipdistill.kinds import open_trained
from clipdistill.recipe import RegionSpec
from clipdistill.recipe_files import load_recipe
from clipdistill.runs.regions import check_files, region_cost, region_maker, region_model
from clipdistill.stores.region_boxes import RegionMaker
from clipdistill.stores.region_cache import write_regions
from clipdistill.stores.regions import RegionStore

FOLDER = "evaluation_regions"
"""In a run: stores of the pictures that a suite measured with, named for the source that they were made for."""


class EvaluationRegions:
    """What suites ask for the regions of a source's pictures (`evaluate.suites.base.RegionsOf`).

    A store is opened, or made, once, and all models that are measured share it. So do all sources of the same pictures:
    other questions about them, or changed ones, need no store of their own.

    Args:
        spec: how the run finds regions; None = it doesn't, and stores must lie there.
        base: opens the model that embeds the crops; called once, and only if a store is made.
        folder: where stores go whose place isn't said; None = it must be said.
        max_bad_share: share of pictures that may be unreadable.
    """

    def __init__(
        self,
        spec: RegionSpec | None,
        base: Callable[[], Any] | None,
        folder: Path | None,
        device: torch.device,
        max_bad_share: float = 0.01,
    ) -> None:
        self.spec, self.base, self.folder, self.device = spec, base, folder, device
        self.max_bad_share = max_bad_share
        self._open: dict[tuple[Path, str], Any] = {}
        self._making: RegionMaker | None = None

    def __call__(self, mixture: Mixture, path: Path | None) -> Any:
        """The store of a mixture's pictures.

        Raises:
            UserError: there is none and none can be made, or it lacks some of the pictures.
        """
        if path is None:
            if self.folder is None:
                raise UserError("regions: a fusion model sees regions of pictures; say where their store lies")
            path = self._place(mixture)
        key = (path, Pictures(mixture).fingerprint())
        if key not in self._open:
            self._open[key] = self._opened(mixture, path)
        return self._open[key]

    def _opened(self, mixture: Mixture, path: Path) -> Any:
        made = self.spec is not None and self.base is not None
        if not (path / "store.json").is_file() and not made:
            raise UserError(
                f"regions: {path}: no store of regions lies there, and only a run with `regions` in its recipe can "
                "make one; name the store that was made for these pictures"
            )
        own = self.folder is not None and path.is_relative_to(self.folder)
        store = self._make(mixture, path) if made and (own or not (path / "store.json").is_file()) else None
        store = store or RegionStore.open(path)
        if why := store.lacks(Pictures(mixture)):
            raise UserError(f"regions: {path}: {why}; name a store of these pictures, or delete it")
        return store

    def _place(self, mixture: Mixture) -> Path:
        """Where the run keeps the regions of these pictures: in a store that has them all, or one of its own.

        Sources of other data may have the same name: the store of the second is told apart by its pictures.
        """
        assert self.folder is not None
        own, pictures = self.folder / FOLDER / _named(mixture), Pictures(mixture)
        stores = sorted(file.parent for file in (self.folder / FOLDER).glob("*/store.json"))
        for place in sorted(stores, key=lambda one: one != own):
            if RegionStore.open(place).lacks(pictures) is None:
                return place
        return own.with_name(f"{own.name}-{pictures.fingerprint()[:8]}") if own in stores else own

    def cost(self, mixtures: Mapping[str, tuple[Mixture, Path | None]]) -> tuple[float, float]:
        """Seconds and bytes that stores will take which aren't there yet: those of the sources that are given.

        mixtures: with where the store of each is said to lie.
        """
        waiting = self._waiting(mixtures)
        if not waiting or self.spec is None or self.base is None:
            return 0.0, 0.0
        return region_cost(self._maker(), list(waiting.values()), self.spec.most, self.device)

    def check(self, mixtures: Mapping[str, tuple[Mixture, Path | None]]) -> None:
        """Name pictures whose regions a file lacks, where regions come from one; arguments as in `cost`."""
        if self.spec is not None:
            check_files(self.spec, list(self._waiting(mixtures).values()), self.max_bad_share)

    def _waiting(self, mixtures: Mapping[str, tuple[Mixture, Path | None]]) -> dict[str, Pictures]:
        """Distinct sets of pictures whose store isn't there yet."""
        waiting: dict[str, Pictures] = {}
        for mixture, path in mixtures.values():
            place = path or (self._place(mixture) if self.folder is not None else None)
            if place is not None and not (place / "store.json").is_file():
                pictures = Pictures(mixture)
                waiting[pictures.fingerprint()] = pictures
        return waiting

    def _make(self, mixture: Mixture, path: Path) -> Any:
        assert self.spec is not None
        maker = self._maker()
        with Meter(f"regions to measure with ({self.spec.provider})", len(Pictures(mixture))) as meter:
            try:
                return write_regions(maker, mixture, path, max_bad_share=self.max_bad_share, progress=meter.reach)
            except UserError as error:
                raise UserError(f"regions: {error}") from error

    def _maker(self) -> RegionMaker:
        """Opened once: its provider may be a detector."""
        assert self.spec is not None and self.base is not None
        if self._making is None:
            self._making = region_maker(self.spec, self.base(), self.device)
        return self._making


def regions_of(model: str | Path, device: torch.device) -> EvaluationRegions:
    """Regions for the evaluation of a model by name: a RUN's are in its folder, or made as its recipe has them."""
    file = Path(model) / "recipe.yaml"
    if not file.is_file():
        return EvaluationRegions(None, None, None, device)
    recipe = load_recipe(file)

    def student() -> Any:
        return open_trained(model, device).requires_grad_(False).eval()

    return EvaluationRegions(recipe.regions, lambda: region_model(recipe, student, device), Path(model), device)


def _named(mixture: Mixture) -> str:
    name = "+".join(source.name for source in mixture.sources)
    return "".join(letter if letter.isalnum() or letter in "+-_." else "_" for letter in name)
