"""A recipe's teachers before a training needs them: opened, and their stores checked against all they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.data import AugmentPlan, Mixture
from clipdistill.data.fields import encoder_fields
from clipdistill.errors import UserError
from clipdistill.evaluate import model_cost
from clipdistill.kinds import KINDS, kind_of
from clipdistill.recipe import Recipe, TeacherSpec
from clipdistill.stores import TeacherStore, store_size_bytes
from clipdistill.stores.encoder import Encoder
from clipdistill.tasks import find_task
from clipdistill.tasks.teacher import DryTeacher, LiveTeacher, StoredTeacher


@dataclass
class TeacherState:
    """A teacher before it is needed.

    spec, index: where it stands in the recipe. features: what of it the task is given. model: live, when it can be had.
    store: when it is written. missing: why there is no live model.
    """

    spec: TeacherSpec
    index: int
    features: str
    model: Any | None
    store: TeacherStore | None = None
    missing: UserError | None = None

    @property
    def role(self) -> str:
        """Whose part of a batch it reads."""
        return f"teacher{self.index}"

    @property
    def to_cache(self) -> bool:
        """Whether the recipe wants a store that isn't there yet."""
        return self.spec.store is not None and self.store is None

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the samples' fields that its targets depend on: the store says them when the model isn't here."""
        if self.model is None:
            return () if self.store is None else tuple(self.store.meta["fields"])
        fields = encoder_fields(self.role, self.model)
        return tuple(sorted({name for each in fields.values() for name in each.READS}))

    def make(self, mixture: Mixture, device: Any) -> Any:
        """The teacher as a task takes it; its store must be written by now."""
        if self.store is not None:
            return StoredTeacher(self.store, mixture.ids)
        assert self.model is not None
        self.model.to(device)
        if not kind_of(self.model).storable:
            return self.model  # its word isn't a target but a gradient, so the task asks the model itself
        return LiveTeacher(self.model, self.role, self.features)

    def dry(self, student: Any, mixture: Mixture, device: Any) -> Any:
        """What stands for it in the forecast: itself, or noise of the right widths where a store is still to come.

        A teacher that the run makes for itself is as wide as the student that it is made for.
        """
        if self.spec.meta is not None:
            width = int(student.embed_dim)
            return DryTeacher(self.spec.label, {"image": width, "text": width}, student.logit_scale.item())
        if not self.to_cache:
            return self.make(mixture, device)
        image, text = self.widths(device)
        scale = 1.0 if self.features == "tower" else self.model.logit_scale.item()  # type: ignore[union-attr]
        return DryTeacher(self.spec.label, {"image": image, "text": text}, scale)

    def widths(self, device: Any) -> tuple[int, int]:
        """Widths of the image and text rows that its store will hold."""
        assert self.model is not None
        self.model.to(device)
        return Encoder(self.model, self.features, device).widths()

    def fingerprint(self) -> str | None:
        """Of the live model, for the features that the task is given."""
        return None if self.model is None else kind_of(self.model).fingerprint(self.model, self.features)

    def store_bytes(self, pictures: int, views: int, captions: int, device: Any) -> int:
        """What its store will weigh."""
        return store_size_bytes(pictures, views, captions, self.widths(device)[0])

    def caching_seconds(self, device: Any) -> float:
        """Seconds a picture, from one timed batch."""
        return 1 / model_cost(self.model, device=device, batch_size=8, repeats=1)["images_per_second"]

    def describe(self) -> str:
        """Its name and where its targets come from."""
        meta = self.spec.meta
        if meta is not None:
            made = f"trained first for {meta.train.epochs} epochs"
            return f"{self.spec.label} of {meta.run}" if meta.run is not None else f"{self.spec.label}, {made}"
        if self.spec.store is None:
            return f"{self.spec.label}, live"
        return f"{self.spec.label}, store {self.spec.store}" + (" (to be written)" if self.to_cache else "")


def open_teachers(recipe: Recipe, student: Any) -> list[TeacherState]:
    """Open the teachers of a training; one whose store is written can do without its weights.

    Args:
        student: the model that the training starts with, which is the teacher where the task says so.

    Raises:
        UserError: no weights, and no store either; a store asked of a kind that has nothing to store.
    """
    task = find_task(recipe.task.method)
    specs = recipe.teachers
    if task.OWN_TEACHER and not specs and task.TEACHERS[0]:
        specs = [TeacherSpec.model_validate(recipe.student.model_dump())]
    if task.OWN_TEACHER:
        # Live towers of its own are no teacher: the task asks its student for them.
        own = [spec for spec in specs if task.TEACHERS[0] or spec.store is not None]
        return [TeacherState(spec, index, task.FEATURES, student) for index, spec in enumerate(own)]
    return [_open(spec, index, recipe) for index, spec in enumerate(specs)]


def _open(spec: TeacherSpec, index: int, recipe: Recipe) -> TeacherState:
    task = find_task(recipe.task.method)
    if spec.meta is not None:
        return TeacherState(spec, index, task.FEATURES, None)  # the run makes it
    kind = KINDS[task.TEACHER_KIND]
    if spec.store is not None and not kind.storable:
        raise UserError(
            f"`teachers.{index}.store`: a {kind.name} has no targets to store (captions are kept once encoded); "
            "remove it"
        )
    try:
        model = kind.open(spec, bf16=recipe.train.precision == "bf16", role=f"teacher{index}")
        return TeacherState(spec, index, task.FEATURES, model)
    except UserError as error:
        if not has_store(spec):
            raise UserError(f"`teachers.{index}`: {error}") from error
        return TeacherState(spec, index, task.FEATURES, None, missing=error)


def has_store(spec: TeacherSpec) -> bool:
    """Whether a teacher's store is complete."""
    return spec.store is not None and (Path(spec.store) / "store.json").is_file()


def open_store(state: TeacherState, mixture: Mixture, plan: AugmentPlan) -> None:
    """Open a teacher's store, when it is written, and check it against teacher, augmentation, data and fields.

    Raises:
        UserError: it is another teacher's, or of other views or samples; an unfinished folder is left to `cache`.
    """
    if not has_store(state.spec):
        return
    state.store = TeacherStore.open(str(state.spec.store))
    if state.model is None and state.store.meta["teacher"] != state.spec.label:
        # Without the weights there is no fingerprint to compare; the name is what is left.
        made = state.store.meta["teacher"]
        raise UserError(
            f"`teachers.{state.index}`: {state.spec.store} was written by {made!r}, not {state.spec.label!r}, whose "
            "weights aren't here to compare; name the store's teacher, or give another store"
        )
    sources: Mapping[str, str] = {source.name: source.fingerprint() for source in mixture.sources}
    state.store.check(
        teacher_fingerprint=state.fingerprint(), plan_fingerprint=plan.fingerprint(), ids=mixture.ids, sources=sources,
        fields=mixture.fields_fingerprint(state.reads) if state.reads else None,
    )  # fmt: skip
