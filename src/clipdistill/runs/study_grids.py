"""`clipdistill study GRID.yaml`: every cell under every seed, the cost of what is still to do, and the table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.evaluate import Result
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import load_recipe
from clipdistill.report.grids.results import GridResults
from clipdistill.report.paper import paper_source
from clipdistill.report.records import read_run
from clipdistill.report.study_grids import write_grid_report
from clipdistill.runs.chain import Chain
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.data import worlds_for_plans
from clipdistill.runs.evaluation import check_suites
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.jobs import Engine, Job, Outcome, done, run_jobs
from clipdistill.runs.plan import duration
from clipdistill.studies.grid import GridCell, StudyGrid, grid_cells, load_grid


@dataclass(frozen=True)
class GridStudy:
    """A grid with its runs, cell by cell, what became of them, and the numbers of those that are done."""

    grid: StudyGrid
    cells: dict[GridCell, list[Job]]
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def jobs(self) -> list[Job]:
        """Seed by seed: a study that is cut short has whole rows."""
        return sorted((job for jobs in self.cells.values() for job in jobs), key=lambda job: job.seed)

    def results(self) -> GridResults:
        """What was measured so far."""
        found: dict[GridCell, dict[int, dict[str, list[Result]]]] = {cell: {} for cell in self.cells}
        costs: dict[GridCell, dict[int, dict[str, dict[str, float]]]] = {cell: {} for cell in self.cells}
        epochs: dict[GridCell, dict[int, dict[int, list[Result]]]] = {cell: {} for cell in self.cells}
        for cell, jobs in self.cells.items():
            for job in filter(done, jobs):
                run = read_run(job.folder)
                found[cell][job.seed] = {role: model.results for role, model in run.models.items()}
                costs[cell][job.seed] = {role: model.costs for role, model in run.models.items()}
                if run.epochs:
                    epochs[cell][job.seed] = run.epochs
        failures = self.outcome.failed
        why = {
            cell: next((failures[job.folder] for job in jobs if job.folder in failures), None)
            for cell, jobs in self.cells.items()
        }
        failed = {cell: said for cell, said in why.items() if said is not None}
        return GridResults(self.grid, found, failed, costs, epochs)


@dataclass(frozen=True)
class Cost:
    """What runs will take: seconds on this machine one after the other, bytes on the disk, and bytes of memory each."""

    seconds: float
    disk_bytes: float
    memory_bytes: float

    def __str__(self) -> str:
        return (
            f"about {duration(self.seconds)} one after the other, {self.disk_bytes / 1e6:,.0f} MB on the disk, "
            f"{self.memory_bytes / 1e6:,.0f} MB of memory a run"
        )


def study_grid(
    path: str | Path,
    out: str | Path,
    *,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    plan: bool = False,
    engine: Engine | None = None,
) -> GridStudy:
    """Run the cells of a grid that aren't done, and write report.md, report.html and grid.json.

    Args:
        path: a YAML file with `recipe` and `axes`.
        out: folder of the study. A run lies in `out/AXIS=LEVEL+.../seed-K`.
        seeds: how many; None = what the grid says. overrides: `key=value` for every cell.
        only: `axis=level`: part of the grid.
        plan: run nothing. engine: who makes the runs; None = this process, in order.

    Raises:
        UserError: an unknown axis, level, recipe or key, or two teachers that share a store, before the first run.
    """
    grid = load_grid(path)
    if grid.paper is not None:
        paper_source(grid.paper)
    cells = {cell: _jobs(grid, cell, seeds or grid.seeds, Path(out)) for cell in grid_cells(grid, overrides, only)}
    _require_own_stores([job for jobs in cells.values() for job in jobs])
    study = GridStudy(grid, cells)
    if plan:
        return study
    ranks = Ranks.current()
    with RunFolder(out).held(ranks.is_main):
        study = replace(study, outcome=run_jobs(study.jobs, Path(out), engine))
        if ranks.is_main:
            write_grid_report(study.results(), Path(out), {job.folder: job.title for job in study.jobs})
    return study


def cost_of(study: GridStudy) -> Cost:
    """What is still to do, from one step of each cell on this machine; what cells share is counted once.

    Raises:
        UserError: whatever of a cell can't be done.
    """
    seconds = disk = memory = 0.0
    shared: set[tuple[str, str]] = set()
    left = [waiting for jobs in study.cells.values() if (waiting := [job for job in jobs if not done(job)])]
    with worlds_for_plans() as borrowed:
        for waiting in left:
            chain = Chain(borrowed(waiting[0].recipe), Ranks.current(), RunFolder(waiting[0].folder))
            for found, place in ((stage.forecast(), (type(stage).__name__, stage.place)) for stage in chain.stages):
                if found is None:
                    continue
                times = len(waiting) if not place[1] else int(place not in shared)
                shared.add(place)
                seconds, disk = seconds + times * found.seconds, disk + times * found.disk_bytes
                memory = max(memory, found.memory_bytes)
    return Cost(seconds, disk, memory)


def _jobs(grid: StudyGrid, cell: GridCell, seeds: int, out: Path) -> list[Job]:
    found = []
    for seed in range(seeds):
        try:
            recipe = load_recipe(grid.recipe, [*cell.overrides, f"seed={seed}"])
            if seed == 0:
                if not recipe.evaluate:
                    raise UserError("`evaluate`: the recipe measures nothing, and a grid compares what was measured")
                check_recipe(recipe)
                check_suites(recipe)
        except UserError as error:
            raise UserError(f"{cell.name}: {error}") from error
        folder = out / cell.folder / f"seed-{seed}"
        found.append(Job(f"{cell.name}, seed {seed}", recipe, folder, resources=grid.resources))
    return found


def _require_own_stores(jobs: Sequence[Job]) -> None:
    """Raise a UserError for a teacher's store that cells with other teachers would write too."""
    seen: dict[Path, tuple[str, str]] = {}
    for job in jobs:
        for index, spec in enumerate(job.recipe.teachers):
            if spec.store is None:
                continue
            teacher = _without_store(job.recipe, index)
            said, first = seen.setdefault(Path(spec.store), (teacher, job.title))
            if said != teacher:
                raise UserError(
                    f"{job.title}: `teachers.{index}.store`: {spec.store} is that of {first}, which has another "
                    f'teacher; name the axis in it, such as `set: ["teachers.{index}.store=stores/{{AXIS}}"]`'
                )


def _without_store(recipe: Recipe, index: int) -> str:
    return recipe.teachers[index].model_copy(update={"store": None}).model_dump_json()
