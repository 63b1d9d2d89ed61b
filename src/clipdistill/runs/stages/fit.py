"""Fitting: whatever a run trains, the student, its control, a teacher for itself or one stage of several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from clipdistill.engine.forecast import forward_flops, time_step, untouched
from clipdistill.engine.rng import seed_everything
from clipdistill.engine.trainer import Trainer
from clipdistill.errors import UserError
from clipdistill.kinds import KINDS, kind_of
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.low_shot import write_draws
from clipdistill.runs.parts import Parts
from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.runs.stages.model_folders import keep_epochs
from clipdistill.tasks import Task, find_task

Dry = Callable[[Parts], Any]


class Fit(Stage):
    """One training in a folder of its own.

    Args:
        result: the folder that holds the trained model once all is done; here or by an Export.
        title: printed when it begins, where a run has several.
        what: the training in the plan's words.
        start: the folder of a trained model to start from, made by an earlier stage; None = as `parts` has it.
        dry: makes of the parts the data that the forecast is made on, where earlier stages are still to give some.

    Attributes:
        student: the trained model, once run.
        parameters, trainable, steps, terms: facts for the plan, after `forecast`.
        dry_task, dry_batch: what the forecast was made on.
        on_step: called with the step's number after each, once its checkpoint is written; what it raises ends it.
    """

    def __init__(
        self, parts: Parts, folder: RunFolder, result: Path, *, title: str = "", start: Path | None = None,
        what: str = "training", dry: Dry | None = None,
    ) -> None:  # fmt: skip
        self.parts, self.folder, self.result = parts, folder, result
        self.title, self.what, self.start = title, what, start
        self._dry = dry
        self.student: Any = None
        self.dry_task: Task | None = None
        self.dry_batch: dict[str, Any] = {}
        self.flops = 0.0
        self.on_step: Callable[[int], None] | None = None

    @property
    def label(self) -> str:
        """What is trained, and of several which."""
        return self.title.partition(":")[0] or self.what

    def done(self) -> bool:
        """Whether the trained model is there."""
        return self.result.is_dir()

    def forecast(self) -> Forecast:
        """From one step made on the side; UserError for a setting that what is trained can't follow."""
        parts, settings = self.parts, self.parts.recipe.train
        mixture = self._dry(parts) if self._dry is not None else parts.data.mixture
        with untouched(parts.model):
            task = parts.make_task(parts.dry_teachers())
            if settings.activation_checkpointing and not (kind := kind_of(task.student)).recomputes:
                field = f"{parts.where}train.activation_checkpointing"
                raise UserError(f"`{field}`: a {kind.name} has no activations worth it; set it to false")
            loader = parts.make_loader(task, mixture)
            began = time.perf_counter()
            batch = next(iter(loader.epoch(0)))
            loading = time.perf_counter() - began
            step = time_step(task, batch, parts.ranks, settings)
            self.flops = forward_flops(task, batch, parts.ranks)
            trained = sum(item.parameter.numel() for item in task.trainable())
        self.dry_task, self.dry_batch, self.terms, self.trainable = task, batch, task.weights, trained
        self.parameters = sum(p.numel() for p in task.student.parameters())
        self.steps = int(min(loader.steps_per_epoch * settings.epochs, settings.max_steps or math.inf))
        epochs = math.ceil(self.steps / loader.steps_per_epoch) if settings.keep_epochs else 0
        # With a worker, loading hides behind the step; without one it comes on top.
        seconds = (step["seconds"] + (0 if parts.recipe.data.workers else loading)) * self.steps
        disk = 12 * trained * (settings.keep_checkpoints + 1) + (8 + 4 * epochs) * self.parameters
        if self.done():
            return Forecast(self.what)
        return Forecast(self.what, seconds, step["memory_bytes"], disk)

    def run(self) -> None:
        """Train to the last step, from the newest checkpoint where there is one."""
        parts, ranks, recipe = self.parts, self.parts.ranks, self.parts.recipe
        self.dry_task, self.dry_batch = None, {}  # their memory is wanted now
        if self.start is not None:
            ranks.barrier()  # the first process alone has exported it
            kind = KINDS[find_task(recipe.task.method).KIND]
            parts.model = kind.start_from(self.start, recipe.student, ranks.device)
        resume = self.folder.has_checkpoint
        if ranks.is_main:
            print(self.title) if self.title and not resume else None
            self.folder.start_once(recipe)
            write_draws(parts.data.draws, self.folder.path)
        ranks.barrier()
        seed_everything(recipe.seed, ranks.rank)
        task = parts.make_task(parts.make_teachers())
        if recipe.train.activation_checkpointing:
            task.set_grad_checkpointing()
        if recipe.train.compile:
            task.compile()
        loader, data = parts.make_loader(task), parts.data
        trainer = Trainer(
            task, loader, recipe, self.folder.path,
            flops_per_pair=self.flops, samples=len(data.kept), bad=data.bad, ranks=ranks,
        )  # fmt: skip
        each = partial(keep_epochs, self.folder, task.student, loader.steps_per_epoch, trainer.total_steps)
        wanted = recipe.train.keep_epochs and ranks.is_main
        if wanted:
            each()  # of an epoch that ended when a run was stopped there is a checkpoint alone

        def after(step: int) -> None:
            if wanted:
                each(step=step)
            if self.on_step is not None:
                self.on_step(step)

        trainer.fit(resume, after)
        self.student = task.student.eval()
        ranks.barrier()
