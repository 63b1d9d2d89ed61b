"""A recipe's regions: what finds them in a picture, and what gives them features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from clipdistill.data.pictures import Pictures
from clipdistill.data.region_files import open_region_file, read_keys
from clipdistill.engine.forecast import seconds_of
from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.models.feature_maps import chosen_level
from clipdistill.models.regions import open_provider
from clipdistill.recipe import Recipe, RegionSpec
from clipdistill.stores.region_boxes import RegionMaker
from clipdistill.stores.region_crops import Crops
from clipdistill.stores.region_files import FileRegions
from clipdistill.stores.region_maps import MapRegions

ANNOTATIONS, FILES = "annotations", "files"
TIMED = 8
"""Pictures whose regions are made to time it."""


def sees_regions(recipe: Recipe, model: Any) -> bool:
    """Whether a training has regions: a recipe's are left alone by a student that sees none of them.

    So the same recipe with another student, such as a language model, is a control.
    """
    return recipe.regions is not None and getattr(model, "sees", "regions") == "regions"


def region_spec(recipe: Recipe) -> RegionSpec:
    """The recipe's regions; UserError when it has none."""
    if recipe.regions is None:
        raise UserError("`regions` is missing: say where they come from, such as {provider: detector, store: FOLDER}")
    return recipe.regions


def open_regions(spec: RegionSpec, device: Any) -> Any | None:
    """What finds regions; None where the data set has boxes of its own.

    Raises:
        UserError: it can't be opened.
    """
    if spec.provider == ANNOTATIONS:
        return None
    try:
        return open_provider({"provider": spec.provider, **spec.options()}, str(device))
    except UserError as error:
        raise UserError(f"`regions`: {error}") from error


def region_model(recipe: Recipe, base: Callable[[], Any], device: Any) -> Any:
    """What embeds the recipe's regions, frozen: `regions.model`, or else what the student starts as (`base`).

    None where they come with their features, from files.

    Raises:
        UserError: it can't be opened, or isn't a dual encoder.
    """
    if region_spec(recipe).provider == FILES:
        return None
    spec = region_spec(recipe).model
    if spec is None:
        return base()
    try:
        model = KINDS["dual_encoder"].open(spec, device)
    except UserError as error:
        raise UserError(f"`regions.model`: {error}") from error
    return model.requires_grad_(False).eval()


def region_maker(spec: RegionSpec, model: Any, device: torch.device, batch_size: int = 64) -> RegionMaker:
    """What makes the regions that a recipe asks for.

    Args:
        model: of `region_model`. batch_size: crops, or pictures of `features: map`, that it sees at once.

    Raises:
        UserError: a provider or a file that can't be opened, a level that the model doesn't have.
    """
    if spec.provider == FILES:
        return region_files(spec)
    found, model = open_regions(spec, device), model.to(device)
    try:
        if spec.features == "map":
            return MapRegions(
                model,
                device,
                found,
                spec.min_score,
                spec.max_regions,
                spec.level,
                spec.bins,
                spec.pad,
                batch_size,
                whole=spec.whole,
            )
    except UserError as error:
        raise UserError(f"`regions`: {error}") from error
    return Crops(model, device, found, spec.min_score, spec.max_regions, spec.crop, batch_size, whole=spec.whole)


def region_files(spec: RegionSpec) -> FileRegions:
    """What takes regions from the file that a recipe names.

    Raises:
        UserError: it can't be opened.
    """
    options = spec.options()
    try:
        keys, ids = (None if options.get(name) is None else str(options[name]) for name in ("keys", "ids"))
        least = options.get("min_regions", 10)
        if not isinstance(least, int) or least < 1:
            raise UserError(f"`min_regions`: {least!r} isn't a whole number of at least 1")
        file = open_region_file(str(options["layout"]), str(options["path"]), ids)
        known = None if keys is None else read_keys(keys)
        return FileRegions(
            file, str(options["layout"]), min_score=spec.min_score, min_regions=least, max_regions=spec.max_regions,
            keys=known,
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"`regions`: {error}") from error


def check_files(spec: RegionSpec, sets: Sequence[Pictures], max_bad_share: float) -> None:
    """See that the file has the regions of sets of pictures, where regions come from one; UserError names the first."""
    if spec.provider != FILES:
        return
    maker = region_files(spec)
    for pictures in sets:
        try:
            maker.check(pictures, max_bad_share)
        except UserError as error:
            raise UserError(f"`regions`: {error}") from error


def region_width(spec: RegionSpec, model: Any) -> int:
    """Width of the features that a recipe's regions will have; UserError for a level that the model doesn't have."""
    if spec.provider == FILES:
        return region_files(spec).width
    if spec.features == "crops":
        return int(model.embed_dim)
    try:
        return chosen_level(model.map_levels(), spec.level, model.name).channels * spec.bins**2
    except UserError as error:
        raise UserError(f"`regions`: {error}") from error


def region_cost(
    maker: RegionMaker, sets: Sequence[Pictures], max_regions: int, device: torch.device
) -> tuple[float, float]:
    """About how many seconds, and bytes of disk, the regions of sets of pictures take: those of a few, times all."""
    count = sum(len(pictures) for pictures in sets)
    if not count:
        return 0.0, 0.0
    few = range(min(TIMED, len(sets[0])))
    with maker.working():
        maker.of(sets[0], few[:1])
        seconds = seconds_of(lambda: maker.of(sets[0], few), device) / len(few)
    return seconds * count, count * max_regions * (2.0 * maker.width + 40)
