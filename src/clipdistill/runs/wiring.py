"""From a recipe to the objects of a run: mixture, models, teachers, task, loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from clipdistill.data import AugmentPlan, ImageView, Loader, Mixture, open_source
from clipdistill.data.sources.base import NOT_A_PICTURE
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.tracking import Meter
from clipdistill.errors import UserError, nearest
from clipdistill.recipe import Recipe, SourceSpec
from clipdistill.runs.models import new_student
from clipdistill.runs.teachers import TeacherState, open_store, open_teacher
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
    if recipe.data.hard_negatives and (
        not TASKS[method].HARD_NEGATIVES or recipe.task.options().get("loss") == "sigmoid"
    ):
        raise UserError("`data.hard_negatives`: they enter InfoNCE over whole captions; set it to 0 for this task")
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
        skew=spec.skew, scenes=spec.scenes, compositional=spec.compositional, formats=tuple(spec.formats),
        progress=progress,
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
            elif state.is_diffusion:
                made.append(state.model.to(self.ranks.device))  # type: ignore[union-attr]
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
        task = self.recipe.task
        seen = models if TASKS[task.method].teachers_see_pictures(task.weights) else {"student": self.student}
        needs_pixels = not (task.method == "lit" and self.teachers)
        return Loader(
            self.mixture,
            images={r: ImageView.from_preprocess(m.preprocess) for r, m in seen.items()} if needs_pixels else {},
            tokenizers={r: m.tokenizer for r, m in models.items()} if needs_pixels else {},
            batch_size=self.recipe.train.batch_size // self.ranks.world_size,
            plan=self.plan,
            seed=self.recipe.seed,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            workers=self.recipe.data.workers,
            hard_negatives=self.recipe.data.hard_negatives,
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
