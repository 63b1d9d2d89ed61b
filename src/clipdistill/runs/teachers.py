"""A recipe's teachers before the run needs them: opened, and their stores checked against everything they depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from clipdistill.data import AugmentPlan, Mixture
from clipdistill.errors import UserError
from clipdistill.models import fingerprint
from clipdistill.models.diffusion import load_diffusion
from clipdistill.recipe import Recipe, TeacherSpec
from clipdistill.runs.models import DIFFUSION, open_model, require_weights
from clipdistill.stores import TeacherStore
from clipdistill.tasks import TASKS


@dataclass
class TeacherState:
    """A teacher before it is needed: its spec, the live model (when it can be had), and its store (when written)."""

    spec: TeacherSpec
    index: int
    model: Any | None
    store: TeacherStore | None = None
    missing: UserError | None = None  # why there is no live model

    @property
    def to_cache(self) -> bool:
        """Whether the recipe wants a store that isn't there yet."""
        return self.spec.store is not None and self.store is None

    @property
    def is_live(self) -> bool:
        """Whether the teacher encodes each batch itself; a meta-teacher's targets are always stored."""
        return self.spec.store is None and self.spec.meta is None

    @property
    def is_diffusion(self) -> bool:
        """Whether the teacher is a diffusion model, which a task takes as it is: its word is a gradient."""
        return self.model is not None and self.model.KIND == "denoiser"


def open_teacher(spec: TeacherSpec, index: int, recipe: Recipe, student: Any) -> TeacherState:
    """Open a teacher's weights; a teacher whose store is written can do without.

    Raises:
        UserError: no weights, and no store either.
    """
    if spec.meta is not None:
        return TeacherState(spec, index, None)  # the run makes it
    if TASKS[recipe.task.method].TEACHER == DIFFUSION:
        return TeacherState(spec, index, open_diffusion(spec, index, recipe))
    try:
        if spec.model is not None:
            require_weights(spec.model)
        # Locked tuning's teacher is the student's own towers.
        return TeacherState(spec, index, student if recipe.task.method == "lit" else open_model(spec))
    except UserError as error:
        if not has_store(spec):
            raise UserError(f"`teachers.{index}`: {error}") from error
        return TeacherState(spec, index, None, missing=error)


def open_diffusion(spec: TeacherSpec, index: int, recipe: Recipe) -> Any:
    """Open a diffusion model as a teacher, frozen, in the run's precision.

    Raises:
        UserError: a store or towers are asked of it, or it can't be opened.
    """
    if spec.store is not None:
        raise UserError(
            f"`teachers.{index}.store`: a diffusion model has no targets to store (captions are kept once encoded); "
            "remove it"
        )
    if spec.model is None:
        raise UserError(f"`teachers.{index}.model` is missing: {recipe.task.method} needs a diffusers folder or name")
    dtype = torch.bfloat16 if recipe.train.precision == "bf16" else torch.float32
    try:
        return load_diffusion(
            spec.model, dtype=dtype, channels_last=torch.cuda.is_available(), role=f"teacher{index}"
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"`teachers.{index}`: {error}") from error


def has_store(spec: TeacherSpec) -> bool:
    """Whether a teacher's store is complete."""
    return spec.store is not None and (spec.store / "store.json").is_file()


def open_store(state: TeacherState, recipe: Recipe, mixture: Mixture, plan: AugmentPlan) -> None:
    """Open a teacher's store, when it is written, and check it against teacher, augmentation and data.

    Raises:
        UserError: it is another teacher's, or of other views or samples; an unfinished folder is left to `cache`.
    """
    if not has_store(state.spec):
        return
    state.store = TeacherStore.open(str(state.spec.store))
    lit = recipe.task.method == "lit"
    if state.model is None and state.store.meta["teacher"] != state.spec.label:
        # Without the weights there is no fingerprint to compare; the name is what is left.
        made = state.store.meta["teacher"]
        raise UserError(
            f"`teachers.{state.index}`: {state.spec.store} was written by {made!r}, not {state.spec.label!r}, whose "
            "weights aren't here to compare; name the store's teacher, or give another store"
        )
    own = None if state.model is None else tower_fingerprint(state.model) if lit else fingerprint(state.model)
    sources = {source.name: source.fingerprint() for source in mixture.sources}
    state.store.check(teacher_fingerprint=own, plan_fingerprint=plan.fingerprint(), ids=mixture.ids, sources=sources)


def tower_fingerprint(student: Any) -> str:
    """Fingerprint of a joined model's locked towers, which its projections leave as they are."""
    return fingerprint(student, towers_only=True)
