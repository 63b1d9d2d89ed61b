"""A recipe's regions: what finds them in a picture, and what embeds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.models.regions import open_provider
from clipdistill.recipe import Recipe, RegionSpec

ANNOTATIONS = "annotations"


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

    Raises:
        UserError: it can't be opened, or isn't a dual encoder.
    """
    spec = region_spec(recipe).model
    if spec is None:
        return base()
    try:
        model = KINDS["dual_encoder"].open(spec, device)
    except UserError as error:
        raise UserError(f"`regions.model`: {error}") from error
    return model.requires_grad_(False).eval()
