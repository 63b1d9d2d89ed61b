"""The runs of a study, whatever laid them out: known to be done, made one after the other, a failing one named.

Nothing is kept beside the runs' own folders: a stopped study goes on, and a run that several cells need is made once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.evaluate import Result
from clipdistill.files import write_json
from clipdistill.kinds import open_trained, require_weights
from clipdistill.recipe import Recipe
from clipdistill.runs.data import ensure_petri_world
from clipdistill.runs.evaluation import evaluate_models, open_evaluations
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.training import train


@dataclass(frozen=True)
class Job:
    """One run: a recipe in its folder. With `model` that model is measured on what the recipe evaluates, untrained."""

    title: str
    recipe: Recipe
    folder: Path
    model: str | None = None

    @property
    def seed(self) -> int:
        """The recipe's."""
        return self.recipe.seed


def run_jobs(jobs: Sequence[Job]) -> dict[Path, str]:
    """Make what isn't done, in order; a job that fails doesn't end the others.

    Returns:
        Folder -> why it failed.
    """
    ranks = Ranks.current()
    failed: dict[Path, str] = {}
    for number, job in enumerate(jobs):
        if ranks.is_main and not done(job):
            print(f"study: {number + 1} of {len(jobs)}: {job.title}")
        try:
            run_job(job, ranks)
        except UserError as error:
            failed[job.folder] = str(error)
            print(f"study: failed: {job.title}: {error}", file=sys.stderr)
    return failed


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
    return bool(found.get("asked") == _asked(job))


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
