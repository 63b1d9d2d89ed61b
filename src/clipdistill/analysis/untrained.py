"""The cheap features that teachers are ranked by: what a student makes of pictures before it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from clipdistill.analysis.told import KIND, Items, unit_rows
from clipdistill.data import ImageView, evaluation_batches
from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.recipe import ModelSpec, Recipe
from clipdistill.recipe_files import is_recipe, load_recipe
from clipdistill.tasks import find_task

Features = Literal["embedding", "grid"]
SETTLED_ON = 256
"""Pictures that fresh batch normalisations get their statistics from."""


@dataclass(frozen=True)
class StudentSpec:
    """A student that is not trained yet: what it is called, how it starts, the seed that its recipe says, and that."""

    name: str
    model: ModelSpec
    seed: int
    recipe: Recipe | None = None

    def start(self, seed: int, device: Any) -> Any:
        """The model as its training starts with it: weights drawn from the seed, or those that its name has."""
        return KINDS[KIND].new(self.model, seed, device).eval()


def read_student(given: str) -> StudentSpec:
    """The student of a recipe (name or file), or a model by name or folder.

    Raises:
        UserError: no such recipe or model, or one that isn't a dual encoder.
    """
    if is_recipe(given):
        recipe = load_recipe(given)
        kind = find_task(recipe.task.method).KIND
        found = StudentSpec(recipe.student.label, recipe.student, recipe.seed, recipe)
    else:
        kind = next(each for each in KINDS.values() if each.recognises(given)).name
        found = StudentSpec(given, ModelSpec(model=given), 0)
    if kind != KIND:
        raise UserError(f"--student {given}: a {kind} student has no tower of its own to score; name a CLIP's")
    return found


def student_features(spec: StudentSpec, items: Items, features: Features, seed: int, fitted: np.ndarray) -> np.ndarray:
    """A student's features of the items' pictures, float32 [N, D]; NaN where a picture can't be read.

    Args:
        features: "embedding" = what the tower ends in, as unit rows (as objectives see them); "grid" = the mean of
            the last grid or patches, before the projection.
        seed: of the weights. fitted: rows of the mixture that fresh batch normalisations may look at.

    Raises:
        UserError: as `Items.embed`.
    """
    model = spec.start(seed, items.device)
    tower = model if features == "embedding" else _Grid(model)
    _settle(model, tower, items, fitted[:SETTLED_ON])
    found = items.embed(tower, f"{spec.name}, seed {seed}")
    return unit_rows(found) if features == "embedding" else found


class _Grid:
    """A model whose images are embedded as the mean of their patches."""

    KIND = KIND

    def __init__(self, model: Any) -> None:
        self.model, self.name = model, model.name
        self.preprocess, self.tokenizer = model.preprocess, model.tokenizer

    @property
    def training(self) -> bool:
        return bool(self.model.training)

    def encode_image(self, pixels: Tensor) -> Tensor:
        tokens: Tensor = self.model.image_tokens(pixels)[1]
        return tokens.mean(dim=1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.model.encode_text(tokens)
        return found

    def train(self, mode: bool = True) -> Any:
        return self.model.train(mode)

    def to(self, device: Any) -> Any:
        return self.model.to(device)


def fresh_norms(model: torch.nn.Module) -> list[Any]:
    """Its batch normalisations that never saw a picture: mean 0 and variance 1."""
    kind = torch.nn.modules.batchnorm._BatchNorm
    norms: list[Any] = [each for each in model.modules() if isinstance(each, kind) and each.running_mean is not None]
    return [each for each in norms if not each.running_mean.any() and bool((each.running_var == 1).all())]


def _settle(model: Any, tower: Any, items: Items, rows: np.ndarray) -> None:
    """Give fresh batch normalisations the statistics of some pictures, all in one batch.

    As it starts, a network of them in evaluation mode passes on numbers that grow or fade from layer to layer, which
    says nothing of the network that will train. One batch: the result doesn't depend on `batch_size`.
    """
    fresh = fresh_norms(model)
    if not fresh:
        return
    view = ImageView.from_preprocess(model.preprocess)
    (batch,) = evaluation_batches(items.mixture, view, len(rows), plan=items.plan, rows=rows)
    momenta = [each.momentum for each in fresh]
    for each in fresh:
        each.train()
        each.momentum = 1.0
    try:
        with torch.no_grad():
            tower.encode_image(batch["image/model"].to(items.device))
    finally:
        for each, momentum in zip(fresh, momenta, strict=True):
            each.eval()
            each.momentum = momentum
