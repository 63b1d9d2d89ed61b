"""Models by a recipe's specs: dual encoders and diffusion models, new or with weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.export import save_student
from clipdistill.models import create_joined, create_model, list_models, load_model
from clipdistill.models.diffusion import NAMED, DiffusionTeacher, create_diffusion, is_diffusion, load_diffusion
from clipdistill.models.named import WEIGHTS_FOLDER
from clipdistill.recipe import ModelSpec, Recipe
from clipdistill.tasks import TASKS

DIFFUSION = "diffusion"
DIFFUSION_PREFIX = "diffusion:"  # tells a diffusion model of the hub from a CLIP


def open_model(spec: ModelSpec, device: torch.device | str = "cpu") -> Any:
    """A DualEncoder: loaded, or joined from parts."""
    if spec.model is not None:
        return load_model(spec.model, device=device)
    return create_joined(joined_spec(spec)).to(device)


def new_student(recipe: Recipe, device: torch.device) -> Any:
    """The student as it starts: pretrained by name, or with weights drawn from the recipe's seed."""
    spec = recipe.student
    if TASKS[recipe.task.method].STUDENT == DIFFUSION:
        return new_diffusion(spec, recipe.seed, device)
    if spec.model is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            student = create_joined(joined_spec(spec)).to(device)
        student.lock_towers(image="image" in spec.locked, text="text" in spec.locked)
        return student
    if spec.model in list_models():
        return create_model(spec.model, seed=recipe.seed, device=device)
    return load_model(spec.model, device=device)


def new_diffusion(spec: ModelSpec, seed: int, device: torch.device) -> Any:
    """A diffusion model to train: small and new by a name of ours, or one with weights."""
    if spec.model is None:
        raise UserError(f"`student.model` is missing: name a diffusion model, such as {next(iter(NAMED))}")
    if spec.model in NAMED:
        return create_diffusion(spec.model, seed, device=device)
    return load_diffusion(spec.model, device)


def save_trained(model: Any, folder: Path) -> None:
    """Export what a run trained, each kind in its own layout."""
    if isinstance(model, DiffusionTeacher):
        model.save(folder)
    else:
        save_student(model, folder)


def open_trained(name: str | Path, device: torch.device | str = "cpu") -> Any:
    """Any model that can be evaluated: a DualEncoder by each of its names, or a diffusion model.

    Args:
        name: what `load_model` takes; a diffusers folder or a RUN that trained one, a name of ours with shipped
            weights, or `diffusion:NAME` for the hub's.
    """
    text = str(name)
    if text.startswith(DIFFUSION_PREFIX):
        return load_diffusion(text.removeprefix(DIFFUSION_PREFIX), device)
    if is_diffusion(text):
        return load_diffusion(text, device)
    return load_model(name, device=device)


def joined_spec(spec: ModelSpec) -> dict[str, Any]:
    """The part of a model spec that describes a joined model."""
    return spec.model_dump(exclude={"model", "store", "locked"})


def require_weights(name: str) -> None:
    """Refuse the plain name of a configuration, which opens with random weights: nothing to learn from or measure.

    Raises:
        UserError: with the pretrained tags that the name has.
    """
    if name.replace("/", "-") not in list_models() or Path(name).is_dir() or (WEIGHTS_FOLDER / name).is_dir():
        return
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name.replace("/", "-"))
    fix = f"add a pretrained tag, such as {name}:{tags[0]}" if tags else "give the folder of a trained one"
    raise UserError(f"model '{name}': a name alone has random weights; {fix}")
