"""From a recipe to the chain of stages that its run is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipdistill.data import Mixture
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.rng import seed_everything
from clipdistill.engine.tracking import require_trackers
from clipdistill.kinds import KINDS
from clipdistill.recipe import Recipe
from clipdistill.report.paper import paper_table
from clipdistill.runs.data import Data, open_data
from clipdistill.runs.derived import control_recipe, teacher_recipe, trainings
from clipdistill.runs.evaluation import check_suites, open_evaluations
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.parts import Parts, open_parts
from clipdistill.runs.regions import region_model, region_spec, region_width, sees_regions
from clipdistill.runs.stages import Cache, Evaluate, Export, FindRegions, Fit, Report, Stage, Targets
from clipdistill.runs.stages.regions import dry_regions
from clipdistill.tasks import find_task


class Chain:
    """A recipe's stages in order, with all that they share opened and checked.

    Raises:
        UserError: whatever of the recipe can't be done, as far as it can be known before long work starts.
    """

    def __init__(self, recipe: Recipe, ranks: Ranks, run: RunFolder) -> None:
        self.recipe, self.ranks, self.run = recipe, ranks, run
        check_suites(recipe)
        require_trackers(recipe.train.trackers)
        if recipe.paper is not None:
            paper_table(recipe.paper)  # the report will ask for it
        seed_everything(recipe.seed, ranks.rank)
        self.before: list[Stage] = []
        self.fits: list[Fit] = []
        self._base: Any = None
        self._regions: Any = None
        last = self._student()
        self.evaluations = open_evaluations(recipe)  # a wrong path is known before the training and not after it
        self.stages: list[Stage] = [*self.before]
        for fit in self.fits:
            self.stages += [fit, Export(fit)]
        if recipe.evaluate:
            self.stages += [Evaluate(recipe, last, run, self.evaluations, self.region_model, self.main), Report(run)]
        for stage in self.stages:
            stage.check()

    @property
    def main(self) -> Fit:
        """The training that the run's student comes from."""
        return next(fit for fit in self.fits if fit.folder is self.run)

    def _student(self) -> Parts:
        """Lay out the student's trainings, what comes before them, and the control; returns the last one's parts."""
        recipes = trainings(self.recipe)
        data: Data | None = None
        start: Path | None = None
        parts: Parts | None = None
        for number, each in enumerate(recipes):
            own = data if data is None or each.data == recipes[0].data else open_data(each, self.ranks)
            where = f"stages.{number}." if self.recipe.stages else ""
            parts = open_parts(each, self.ranks, own, None if parts is None else parts.model, where=where)
            data = data or parts.data
            last = number == len(recipes) - 1
            self._before(parts)
            folder = self.run if last else RunFolder(self.run.path / "stages" / self.recipe.stages[number].name)
            title = "" if len(recipes) == 1 else f"stage {number + 1} of {len(recipes)}: {each.name}"
            dry = self._dry if sees_regions(self.recipe, parts.model) else None
            self.fits.append(Fit(parts, folder, folder.student, title=title, start=start, dry=dry))
            start = folder.student
        assert parts is not None
        if "control" in self.recipe.compare:
            # The control starts where the last training starts.
            control = open_parts(control_recipe(recipes[-1]), self.ranks, parts.data)
            folder, title = RunFolder(self.run.control), "control: the same student without its teacher"
            self.fits.append(Fit(control, folder, folder.student, title=title, start=self.fits[-1].start))
        return parts

    def _before(self, parts: Parts) -> None:
        """What a training needs first: its teachers' stores, regions, and a teacher of the run's own."""
        self.before += [Cache(parts, state) for state in parts.teachers if state.spec.store is not None]
        recipe = parts.recipe
        if not sees_regions(recipe, parts.model):
            return
        self.before.append(FindRegions(parts, self.region_model(), self.run.path / "regions.png"))
        for state in parts.teachers:
            if state.spec.meta is None:
                continue
            meta, folder = state.spec.meta, RunFolder(self.run.path / "teacher")
            own = open_parts(
                teacher_recipe(recipe, meta), self.ranks, parts.data, self.base(),
                draw=2, where=f"teachers.{state.index}.meta.",
            )  # fmt: skip
            fit = Fit(
                own, folder, folder.epochs / str(meta.train.epochs), title="teacher: trained on regions and captions",
                what="the meta-teacher", dry=self._dry,
            )  # fmt: skip
            if meta.run is None:
                self.before.append(fit)
            self.before.append(Targets(parts, state, self.base(), fit, folder.path))

    def _dry(self, parts: Parts) -> Mixture:
        """Data with regions of the right shape, for forecasts that are made before they are found."""
        return dry_regions(parts, region_width(region_spec(self.recipe), self.region_model()))

    def region_model(self) -> Any:
        """What embeds regions, those of the training's pictures and those that are measured with."""
        if self._regions is None:
            self._regions = region_model(self.recipe, self.base, self.ranks.device)
        return self._regions

    def base(self) -> Any:
        """The pretrained model that a meta-teacher stands on, and regions are embedded by unless they say, frozen."""
        if self._base is None:
            task = find_task(trainings(self.recipe)[-1].task.method)
            self._base = KINDS[task.KIND].open(self.recipe.student, self.ranks.device)
            self._base.requires_grad_(False).eval()
        return self._base
