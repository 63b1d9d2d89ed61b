"""`clipdistill train`: check a recipe's chain of stages, show the plan, and run what isn't done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.recipe import Recipe
from clipdistill.runs.chain import Chain
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.data import world_for_plan
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.plan import show_plan
from clipdistill.runs.stages import Stage
from clipdistill.runs.stages.base import Forecast


class Watcher:
    """Is told how a run goes on; this one doesn't listen."""

    def opened(self, chain: Chain) -> None:
        """Models and data are open and checked, and nothing else is done."""

    def planned(self, costs: Sequence[tuple[Stage, Forecast]]) -> None:
        """The stages' forecasts, of what is still to do."""

    @contextmanager
    def around(self, stage: Stage) -> Iterator[None]:  # noqa: ARG002 - for those that listen
        """What a stage does happens inside."""
        yield


def train(
    recipe: Recipe, out: str | Path | None, *, resume: bool = False, plan_only: bool = False,
    watcher: Watcher | None = None,
) -> RunFolder | None:  # fmt: skip
    """Run a recipe: the main job.

    Prints the plan, writes missing stores, trains the student (and the control, when the recipe compares with it),
    exports, evaluates and reports. Everything lies in `out` afterwards.

    Args:
        out: a new or empty folder, or with `resume` the folder of the run to go on with; a plan needs none.
        plan_only: stop after the plan; nothing is written.
        watcher: is told of each stage; what it raises ends the run, which `resume` goes on with.

    Returns:
        The run's folder; None on ranks other than the first, and with `plan_only`.

    Raises:
        UserError: whatever the user can mend, before long work starts where it can be known then.
        Interrupted: a signal came; `resume` goes on.
    """
    ranks = Ranks.current()
    console = Console(stderr=True) if ranks.is_main else None
    check_recipe(recipe, ranks.world_size)
    if plan_only:
        with world_for_plan(recipe) as borrowed:
            show_plan(Chain(borrowed, ranks, RunFolder(out or ".")), console)
        return None
    if out is None:
        raise UserError("--out is missing: say where the run shall lie, such as --out runs/first")
    run = RunFolder(out)
    if ranks.is_main:
        run.refuse_busy()
    run.check(resume, recipe)
    chain, watcher = Chain(recipe, ranks, run), watcher or Watcher()
    watcher.opened(chain)
    watcher.planned(show_plan(chain, console))
    with run.held(ranks.is_main):
        ranks.barrier()
        # What goes wrong here leaves no run behind, to be resumed or deleted.
        run_stages(chain, shared=True, watcher=watcher)
        if ranks.is_main:
            run.begin(resume, recipe)
        ranks.barrier()
        run_stages(chain, shared=False, watcher=watcher)
    return run if ranks.is_main else None


def run_stages(chain: Chain, shared: bool, watcher: Watcher) -> None:
    """Run the stages of a chain that aren't done, in order: those that serve other runs too, or the others."""
    for stage in chain.stages:
        if stage.SHARED is not shared:
            continue
        if stage.MAIN_ONLY and not chain.ranks.is_main:
            continue
        with watcher.around(stage):
            if not stage.done():
                stage.run()
            stage.hand_on()
