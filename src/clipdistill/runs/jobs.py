"""The runs of a study, whatever laid them out: known to be done, made one after the other or by an engine, a failing
one named.

Nothing is kept beside the runs' own folders: a stopped study goes on, and a run that several cells need is made once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.evaluate import Result
from clipdistill.files import write_json
from clipdistill.kinds import open_trained, require_weights
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import answers
from clipdistill.runs.data import ensure_petri_world
from clipdistill.runs.evaluation import evaluate_models, open_evaluations
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.training import train
from clipdistill.studies.resources import Resources


@dataclass(frozen=True)
class Job:
    """One run: a recipe in its folder. With `model` that model is measured on what the recipe evaluates, untrained.

    resources: what it asks of a cluster.
    """

    title: str
    recipe: Recipe
    folder: Path
    model: str | None = None
    resources: Resources = field(default_factory=Resources)

    @property
    def seed(self) -> int:
        """The recipe's."""
        return self.recipe.seed


@dataclass(frozen=True)
class Outcome:
    """What became of runs that aren't done.

    failed: folder -> why. left: folder -> how, of those that wait in a queue or still run.
    """

    failed: dict[Path, str] = field(default_factory=dict)
    left: dict[Path, str] = field(default_factory=dict)


class Engine(Protocol):
    """Whatever sends runs to other processes or machines: `runs/engines/`."""

    NAME: str

    def run(self, jobs: Sequence[Job], out: Path) -> Outcome:
        """Make jobs that aren't done, whichever first; one that fails doesn't end the others.

        Args:
            out: the study's folder, which the caller holds.

        Raises:
            UserError: no cluster, or one that can't take them.
            Interrupted: Ctrl-C; what is done stays.
        """
        ...


def run_jobs(jobs: Sequence[Job], out: Path, engine: Engine | None = None) -> Outcome:
    """Make what isn't done: in order and in this process, or by an engine. A job that fails doesn't end the others.

    Raises:
        UserError: an engine, and several processes that train together.
    """
    ranks = Ranks.current()
    outcome = Outcome()
    if engine is not None and ranks.world_size > 1:
        raise UserError(f"study: --engine {engine.NAME} starts processes of its own; leave torchrun or accelerate away")
    for number, job in enumerate(jobs):
        if not done(job):
            if engine is not None:
                continue
            if ranks.is_main:
                print(f"study: {number + 1} of {len(jobs)}: {job.title}")
        try:
            run_job(job, ranks)
        except UserError as error:
            say_failed(outcome, job, str(error))
    if engine is not None and (missing := [job for job in jobs if not done(job)]):
        found = engine.run(missing, out)
        outcome.failed.update(found.failed)
        outcome.left.update(found.left)
    return outcome


def say_failed(outcome: Outcome, job: Job, why: str) -> None:
    """Note that a job failed, and print it."""
    outcome.failed[job.folder] = why
    print(f"study: failed: {job.title}: {why}", file=sys.stderr)


def require_success(jobs: Sequence[Job], failed: dict[Path, str]) -> None:
    """Raise a UserError that names the first job that failed."""
    for job in jobs:
        if job.folder in failed:
            count = f"{len(failed)} of {len(jobs)} runs failed; the first"
            raise UserError(f"study: {count}: {job.title}: {failed[job.folder]}")


def show_jobs(jobs: Sequence[Job]) -> None:
    """List them, and which are done."""
    for job in jobs:
        print(f"{'done' if done(job) else '    '} {job.title}")
    print(f"{len(jobs)} runs, {sum(map(done, jobs))} of them done")


def done(job: Job) -> bool:
    """Whether its numbers are there, and are those that the recipe asks for now."""
    try:
        found = json.loads((job.folder / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return answers(found, _asked(job))


def run_job(job: Job, ranks: Ranks) -> None:
    """Train, or measure, what isn't done; what is done must be of the same recipe.

    Raises:
        UserError: whatever a run can't mend.
    """
    if job.model is None:
        folder = RunFolder(job.folder)
        if done(job):
            folder.check(True, job.recipe)
        else:
            train(job.recipe, job.folder, resume=folder.recipe.is_file())
        return
    if done(job) or not ranks.is_main:
        return
    require_weights(job.model)
    with RunFolder(job.folder).held():
        ensure_petri_world(job.recipe)
        models = {"model": (job.model, open_trained(job.model, ranks.device))}
        found = evaluate_models(open_evaluations(job.recipe), models, ranks.device)
        write_json(job.folder / "evaluation.json", {**found, "asked": _asked(job)})


def results_of(job: Job) -> dict[str, list[Result]]:
    """What was measured, by role: of a job with a model that is "model", of a run "student" and whom it is beside."""
    content = json.loads((job.folder / "evaluation.json").read_text(encoding="utf-8"))
    return {
        role: [Result.from_dict(one) for one in found.get("results", ())] for role, found in content["models"].items()
    }


def _asked(job: Job) -> dict[str, Any]:
    values = job.recipe.model_dump(mode="json")
    asked = {key: values[key] for key in ("evaluate", "compare")}
    return asked if job.model is None else {**asked, "model": job.model}
