"""What one training is made of: data, the model it starts with, teachers, task, loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from clipdistill.data import AugmentPlan, Loader, Mixture
from clipdistill.data.sources.bare import is_bare
from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.recipe import Recipe
from clipdistill.runs.checks import task_options
from clipdistill.runs.data import Data, augment_plan, open_data
from clipdistill.runs.open_teachers import open_teachers, train_first
from clipdistill.runs.teachers import TeacherState
from clipdistill.tasks import TASKS, Task, find_task


@dataclass
class Parts:
    """Opened and checked, before long work starts.

    model: what the training starts with. draw: added to the recipe's seed for what the task itself makes, so that a
    run's trainings don't start from the same numbers. where: the part of the run's recipe that this one is, for errors.
    """

    recipe: Recipe
    ranks: Ranks
    data: Data
    plan: AugmentPlan
    model: Any
    teachers: list[TeacherState]
    draw: int = 1
    where: str = ""

    def make_task(self, teachers: list[Any]) -> Task:
        """The task on its device; what it makes is drawn from the recipe's seed."""
        recipe = self.recipe
        kind, weights, options = find_task(recipe.task.method), recipe.task.weights, task_options(recipe)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed + self.draw)
            student = kind.make_student(self.model, weights, options)
            task = kind(student, teachers, weights, options)
            task.prepare(self.data.mixture)
        task.to(self.ranks.device)
        self.ranks.broadcast_module(task)
        return task

    def make_teachers(self) -> list[Any]:
        """The teachers as the task takes them."""
        return [state.make(self.data.kept, self.ranks.device) for state in self.teachers]

    def dry_teachers(self) -> list[Any]:
        """What stands for them in the forecast."""
        return [state.dry(self.model, self.data.mixture, self.ranks.device) for state in self.teachers]

    def make_loader(self, task: Task, mixture: Mixture | None = None, batch_size: int | None = None) -> Loader:
        """Batches of the fields that the task reads."""
        mixture = mixture or self.data.kept
        return Loader(
            mixture,
            task.fields(mixture),
            batch_size=(batch_size or self.recipe.train.batch_size) // self.ranks.world_size,
            plan=self.plan,
            seed=self.recipe.seed,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            workers=self.recipe.data.workers,
        )


def check_captions(recipe: Recipe, mixture: Mixture, where: str) -> None:
    """Raise a UserError for pictures without captions where the method can't use them, or with too few others."""
    share = mixture.captioned
    if share == 1:
        return
    index = next(number for number, source in enumerate(mixture.sources) if is_bare(source))
    if not find_task(recipe.task.method).BARE:
        able = ", ".join(name for name, task in TASKS.items() if task.BARE)
        raise UserError(
            f"`{where}data.train.{index}`: {recipe.task.method} can't use pictures without captions; {able} can"
        )
    expected = share * recipe.train.batch_size
    if expected < 2:
        raise UserError(
            f"`{where}data.train.{index}`: only {expected:.2g} pictures of a batch of {recipe.train.batch_size} have a "
            "caption, too few to compare; `repeat` the source that has some, or raise `train.batch_size`"
        )


def open_parts(
    recipe: Recipe, ranks: Ranks, data: Data | None = None, model: Any | None = None, *, draw: int = 1, where: str = ""
) -> Parts:
    """Open models and data, write the petri world where one is asked for, and check stores against all of it.

    Args:
        data, model: what another training of the same run has opened already.
        where: the part of the recipe that this training is, such as `stages.0.`, for errors.

    Raises:
        UserError: anything missing or mismatched, in one line.
    """
    # Models first: a wrong name is known before a world is drawn.
    task = find_task(recipe.task.method)
    if model is None:
        kind = KINDS[task.KIND]
        # A task that makes its own student stands on weights that are there; others may draw them.
        frozen = task.OWN_TEACHER and bool(task.TEACHERS[0])
        try:
            model = (
                kind.open(recipe.student, ranks.device)
                if frozen
                else kind.new(recipe.student, recipe.seed, ranks.device)
            )
        except UserError as error:
            said = train_first(recipe.student.label)
            raise UserError(f"`{where}student`: {said}" if said else str(error)) from error
    task.check_start(model)
    teachers = open_teachers(recipe, model)
    if data is None:
        data = open_data(recipe, ranks)
    if recipe.train.batch_size > len(data.mixture):
        raise UserError(
            f"`{where}train.batch_size` is {recipe.train.batch_size} and the data has {len(data.mixture)} samples; "
            "lower it"
        )
    check_captions(recipe, data.mixture, where)
    plan = augment_plan(recipe)
    for state in teachers:
        state.open_store(data, plan)
    return Parts(recipe, ranks, data, plan, model, teachers, draw, where)
