"""`clipdistill train`: plan, store, train, control, export, evaluate, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.rng import seed_everything
from clipdistill.engine.tracking import require_trackers
from clipdistill.engine.trainer import Trainer
from clipdistill.errors import UserError
from clipdistill.evaluate.suites import Evaluation
from clipdistill.files import write_json
from clipdistill.recipe import Recipe
from clipdistill.report import build_report
from clipdistill.report.paper import paper_table
from clipdistill.runs.caching import write_stores
from clipdistill.runs.evaluation import check_suites, evaluate_models, open_evaluations, run_examples
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.meta_teacher import check_meta, prepare_meta_teacher
from clipdistill.runs.models import new_student, open_trained, save_trained
from clipdistill.runs.plan import Plan, make_plan
from clipdistill.runs.preparation import check_left_out, world_for_plan
from clipdistill.runs.wiring import Parts, check_recipe, open_parts
from clipdistill.tasks import TASKS


def train(recipe: Recipe, out: str | Path | None, *, resume: bool = False, plan_only: bool = False) -> RunFolder | None:
    """Run a recipe: the main job.

    Prints the plan, writes missing stores, trains the student (and the control, when the recipe compares with it),
    exports, evaluates and reports. Everything lies in `out` afterwards.

    Args:
        out: a new or empty folder, or with `resume` the folder of the run to go on with; a plan needs none.
        plan_only: stop after the plan; nothing is written.

    Returns:
        The run's folder; None on ranks other than the first, and with `plan_only`.

    Raises:
        UserError: whatever the user can mend, before long work starts where it can be known then.
        Interrupted: a signal came; `resume` goes on.
    """
    ranks = Ranks.current()
    check_recipe(recipe, ranks.world_size)
    check_meta(recipe, ranks.world_size)
    if plan_only:
        with world_for_plan(recipe) as borrowed:
            _prepare(borrowed, ranks, Path(out or "."))
        return None
    if out is None:
        raise UserError("--out is missing: say where the run shall lie, such as --out runs/first")
    run = RunFolder(out)
    run.check(resume, recipe)
    parts, plan, evaluations = _prepare(recipe, ranks, run.path)
    with_control = "control" in recipe.compare
    write_stores(parts)
    prepare_meta_teacher(parts, run, resume)
    parts.leave_out_bad()
    fit(parts, run, resume, plan)
    if with_control:
        control = control_recipe(recipe)
        print("control: the same student without its teacher") if ranks.is_main else None
        fit(open_parts(control, ranks, parts.mixture), RunFolder(run.control), resume, plan)
    if not ranks.is_main:
        return None
    finish(recipe, run, parts, evaluations)
    return run


def _prepare(recipe: Recipe, ranks: Ranks, out: Path) -> tuple[Parts, Plan, list[Evaluation]]:
    """Open everything, check it, and show the plan: all that can go wrong early does so here."""
    check_suites(recipe)
    require_trackers(recipe.train.trackers)
    if recipe.paper is not None:
        paper_table(recipe.paper)  # the report will ask for it
    seed_everything(recipe.seed, ranks.rank)
    parts = open_parts(recipe, ranks)
    check_left_out(parts.mixture, recipe.data.max_bad_share)
    evaluations = open_evaluations(recipe)  # a wrong path is known before the training and not after it
    plan = make_plan(parts, out, runs=2 if "control" in recipe.compare else 1)
    if ranks.is_main:
        plan.show(Console(stderr=True))
    return parts, plan, evaluations


def control_recipe(recipe: Recipe) -> Recipe:
    """The same student, data, seed and training, with the task loss alone."""
    options = recipe.task.options()
    task: dict[str, Any] = {"method": recipe.task.method, "weights": {"task": 1.0}, **options}
    if not TASKS[recipe.task.method].WITHOUT_TEACHER:
        task = {"method": "contrastive", **{k: v for k, v in options.items() if k in ("loss", "chunk")}}
    values = recipe.model_dump()
    values |= {"name": f"{recipe.name} (control)", "regions": None, "teachers": [], "task": task, "compare": []}
    # The control sees the same views, though it has no store that fixes their number.
    if values["data"]["augment"]["views"] is None and any(teacher.store for teacher in recipe.teachers):
        values["data"]["augment"]["views"] = 1
    return Recipe.model_validate(values)


def fit(parts: Parts, run: RunFolder, resume: bool, plan: Plan) -> None:
    """Train one student in `run` and export it."""
    ranks = parts.ranks
    resume = resume and run.has_checkpoint
    if ranks.is_main and not resume:
        run.start(parts.recipe)
    ranks.barrier()
    seed_everything(parts.recipe.seed, ranks.rank)
    task = parts.make_task(parts.make_teachers())
    if parts.recipe.train.activation_checkpointing:
        task.set_grad_checkpointing()
    if parts.recipe.train.compile:
        task.compile()
    trainer = Trainer(
        task, parts.make_loader(), parts.recipe, run.path,
        flops_per_pair=plan.flops_per_pair, samples=len(parts.mixture), bad=parts.bad, ranks=ranks,
    )  # fmt: skip
    trainer.fit(resume)
    if ranks.is_main:
        save_trained(parts.student.eval(), run.student)


def finish(recipe: Recipe, run: RunFolder, parts: Parts, evaluations: list[Evaluation]) -> None:
    """Evaluate the student and what the recipe compares it with, and write the report."""
    device = parts.ranks.device
    models: dict[str, tuple[str, Any]] = {}
    if "teacher" in recipe.compare:
        for state in parts.teachers:
            if state.missing is not None:
                print(f"teacher not evaluated: {state.missing}", file=sys.stderr)
            elif recipe.task.method != "lit" and state.model is not None:  # a meta-teacher needs pairs to be one
                role = "teacher" if len(parts.teachers) == 1 else f"teacher {state.index + 1}"
                models[role] = (state.spec.label, state.model)
    if "base" in recipe.compare:
        models["base"] = (f"{recipe.student.label}, before", new_student(recipe, device))
    if "control" in recipe.compare:
        models["control"] = (f"{recipe.student.label}, control", open_trained(run.control, device))
    models["student"] = (recipe.student.label, open_trained(run.path, device))
    if recipe.evaluate:
        write_json(run.evaluation, evaluate_models(evaluations, models, device, recipe.data.workers))
        examples = run_examples(evaluations, models, device, recipe.data.workers)
        if examples is not None:
            write_json(run.examples, examples)
        build_report([run.path], run.path)
