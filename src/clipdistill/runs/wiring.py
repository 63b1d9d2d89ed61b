"""From a recipe to the objects of a run: mixture, models, teachers, task, loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clipdistill.data import AugmentPlan, ImageView, Loader, Mixture, open_source
from clipdistill.data.sources.base import NOT_A_PICTURE
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError, nearest
from clipdistill.models import create_joined, create_model, fingerprint, list_models, load_model
from clipdistill.models.named import WEIGHTS_FOLDER
from clipdistill.recipe import ModelSpec, Recipe, SourceSpec, TeacherSpec
from clipdistill.stores import TeacherStore
from clipdistill.tasks import TASKS, Task
from clipdistill.tasks.teacher import LiveTeacher, StoredTeacher, Teacher


def check_recipe(recipe: Recipe, world_size: int = 1) -> None:
    """Everything about a recipe that can be checked before a file is opened.

    Raises:
        UserError: unknown method, term or option; a batch that doesn't divide.
    """
    method = recipe.task.method
    if method not in TASKS:
        raise UserError(f"`task.method`: no method {method!r}.{nearest(method, TASKS)} Methods: {', '.join(TASKS)}.")
    TASKS[method].check_weights(recipe.task.weights)
    TASKS[method].check_options(recipe.task.options())
    local, rest = divmod(recipe.train.batch_size, world_size)
    if rest:
        raise UserError(f"`train.batch_size` ({recipe.train.batch_size}) must divide by the {world_size} processes")
    if recipe.train.micro_batch and recipe.train.micro_batch < local and local % recipe.train.micro_batch:
        raise UserError(f"`train.micro_batch` ({recipe.train.micro_batch}) must divide the {local} pairs of a process")


def ensure_petri_world(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the recipe's petri world, or make sure that the one in its folder is the one it wants."""
    spec = recipe.petri
    if spec is None:
        return
    from clipdistill.petri import write_world

    write_world(
        spec.path, images=spec.images, val=spec.val, test=spec.test, seed=spec.seed, image_size=spec.image_size,
        skew=spec.skew, formats=tuple(spec.formats), progress=progress,
    )  # fmt: skip


def source_spec(spec: SourceSpec) -> dict[str, Any]:
    """A source as the data layer takes it."""
    values = {"format": spec.format, **spec.options()}
    return values if spec.path is None else {**values, "path": spec.path}


def open_mixture(recipe: Recipe) -> Mixture:
    """Open the training sources.

    Raises:
        UserError: missing or empty data, a column that isn't there, more samples asked than there are.
    """
    parts = []
    for index, spec in enumerate(recipe.data.train):
        try:
            source = open_source(source_spec(spec))
        except UserError as error:
            raise UserError(f"`data.train.{index}`: {error}") from error
        if spec.count is not None and spec.count > len(source):
            raise UserError(
                f"`data.train.{index}.count`: {spec.count:,} asked of '{source.name}', which has {len(source):,} "
                "samples; lower it"
            )
        parts.append((source, spec.count))
    return Mixture(parts, seed=recipe.seed if recipe.data.seed is None else recipe.data.seed)


def augment_plan(recipe: Recipe) -> AugmentPlan:
    """The augmentation plan; with stored teachers and nothing said about views there is one view."""
    values = recipe.data.augment.model_dump()
    if values["views"] is None and any(teacher.store for teacher in recipe.teachers):
        values["views"] = 1
    seed = values.pop("seed")
    return AugmentPlan(**values, seed=recipe.seed if seed is None else seed)


def open_model(spec: ModelSpec, device: torch.device | str = "cpu") -> Any:
    """A DualEncoder: loaded, or joined from parts."""
    if spec.model is not None:
        return load_model(spec.model, device=device)
    return create_joined(joined_spec(spec)).to(device)


def new_student(recipe: Recipe, device: torch.device) -> Any:
    """The student as it starts: pretrained by name, or with weights drawn from the recipe's seed."""
    spec = recipe.student
    if spec.model is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            student = create_joined(joined_spec(spec)).to(device)
        student.lock_towers(image="image" in spec.locked, text="text" in spec.locked)
        return student
    if spec.model in list_models():
        return create_model(spec.model, seed=recipe.seed, device=device)
    return load_model(spec.model, device=device)


def joined_spec(spec: ModelSpec) -> dict[str, Any]:
    """The part of a model spec that describes a joined model."""
    return spec.model_dump(exclude={"model", "store", "locked"})


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


@dataclass
class Parts:
    """What a run is made of, opened and checked, before long work starts."""

    recipe: Recipe
    ranks: Ranks
    mixture: Mixture
    plan: AugmentPlan
    student: Any
    teachers: list[TeacherState] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)

    def leave_out_bad(self) -> None:
        """Take the samples that a teacher could not read out of the mixture: there are no targets for them.

        They are noted in `bad`, with those that the sources left out when they were opened.
        """
        self.bad |= {one: why for one, why in self.mixture.skipped if why != NOT_A_PICTURE}
        for state in self.teachers:
            if state.store is not None:
                ids = set(self.mixture.ids)
                unread = {one: why for one, why in state.store.bad.items() if one in ids}
                self.mixture = self.mixture.without(unread) if unread else self.mixture
                self.bad |= unread

    def make_teachers(self) -> list[Teacher]:
        """Teachers as the task takes them; stores must be written by now."""
        made: list[Teacher] = []
        for state in self.teachers:
            if state.store is not None:
                made.append(StoredTeacher(state.store, self.mixture.ids))
            else:
                made.append(LiveTeacher(state.model.to(self.ranks.device), f"teacher{state.index}"))  # type: ignore[union-attr]
        return made

    def make_task(self, teachers: list[Any]) -> Task:
        """The task on its device; projections are drawn from the recipe's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed + 1)
            kind = TASKS[self.recipe.task.method]
            task = kind(self.student, teachers, self.recipe.task.weights, self.recipe.task.options())
        task.to(self.ranks.device)
        self.ranks.broadcast_module(task)
        return task

    def make_loader(self) -> Loader:
        """Batches with the views of the student and of each live teacher."""
        models = {"student": self.student}
        models |= {f"teacher{s.index}": s.model for s in self.teachers if s.is_live}
        needs_pixels = not (self.recipe.task.method == "lit" and self.teachers)
        return Loader(
            self.mixture,
            images={r: ImageView.from_preprocess(m.preprocess) for r, m in models.items()} if needs_pixels else {},
            tokenizers={r: m.tokenizer for r, m in models.items()} if needs_pixels else {},
            batch_size=self.recipe.train.batch_size // self.ranks.world_size,
            plan=self.plan,
            seed=self.recipe.seed,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            workers=self.recipe.data.workers,
        )


def open_parts(recipe: Recipe, ranks: Ranks | None = None, mixture: Mixture | None = None) -> Parts:
    """Open models and data, write the petri world where one is asked for, and check stores against all of it.

    Args:
        mixture: data that is open already, of a run that this one is compared with.

    Raises:
        UserError: anything missing or mismatched, in one line.
    """
    ranks = ranks or Ranks.current()
    check_recipe(recipe, ranks.world_size)
    # Models first: a wrong name is known before a world is drawn.
    student = new_student(recipe, ranks.device)
    if recipe.task.method == "lit":
        lock_towers(student)
    teachers = [open_teacher(spec, i, recipe, student) for i, spec in enumerate(recipe.teachers)]
    if mixture is None:
        if ranks.is_main:
            with Meter("petri world", 1, quiet=recipe.petri is None) as meter:
                ensure_petri_world(recipe, meter.reach)
        ranks.barrier()
        mixture = open_mixture(recipe)
    if recipe.train.batch_size > len(mixture):
        raise UserError(
            f"`train.batch_size` is {recipe.train.batch_size} and the data has {len(mixture)} samples; lower it"
        )
    plan = augment_plan(recipe)
    for state in teachers:
        open_store(state, recipe, mixture, plan)
    return Parts(recipe, ranks, mixture, plan, student, teachers)


def lock_towers(student: Any) -> None:
    """Lock a joined model's towers, or say that only a joined model has them."""
    if not hasattr(student, "lock_towers"):
        raise UserError("`task.method=lit` trains a joined model; give `student.image_tower` and `student.text_tower`")
    student.lock_towers()


def open_teacher(spec: TeacherSpec, index: int, recipe: Recipe, student: Any) -> TeacherState:
    """Open a teacher's weights; a teacher whose store is written can do without.

    Raises:
        UserError: no weights, and no store either.
    """
    if spec.meta is not None:
        return TeacherState(spec, index, None)  # the run makes it
    try:
        if spec.model is not None:
            require_weights(spec.model)
        # Locked tuning's teacher is the student's own towers.
        return TeacherState(spec, index, student if recipe.task.method == "lit" else open_model(spec))
    except UserError as error:
        if not has_store(spec):
            raise UserError(f"`teachers.{index}`: {error}") from error
        return TeacherState(spec, index, None, missing=error)


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
