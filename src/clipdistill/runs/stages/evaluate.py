"""Evaluation of a run: the student and what the recipe compares it with, on every suite."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdistill.data import Mixture
from clipdistill.engine.forecast import untouched
from clipdistill.errors import UserError
from clipdistill.evaluate.speed import LEAST_ROUNDS, batch_of
from clipdistill.evaluate.suites import Evaluation
from clipdistill.evaluate.suites.timing import suite_cost
from clipdistill.files import write_json
from clipdistill.kinds import KINDS, open_trained
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import answers
from clipdistill.runs.evaluation import evaluate_models, run_examples, say_unread, teachers_among
from clipdistill.runs.evaluation_regions import EvaluationRegions
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.measured import Measured
from clipdistill.runs.parts import Parts
from clipdistill.runs.regions import region_spec, region_width, sees_regions
from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.runs.stages.fit import Fit
from clipdistill.runs.teachers import TeacherState
from clipdistill.stores.regions import DryRegions
from clipdistill.tasks import find_task


class Evaluate(Stage):
    """Write `evaluation.json`, and `examples.json` where a suite has captions to show.

    Args:
        parts: of the student's last training. evaluations: the suites, their data open.
        base: opens the model that regions are embedded by, for suites that show regions; None = there is none.
        fit: the student's training, whose forecast has the student as it will be, heads and all.
    """

    MAIN_ONLY = True

    def __init__(
        self, recipe: Recipe, parts: Parts, run: RunFolder, evaluations: Sequence[Evaluation],
        base: Callable[[], Any] | None = None, fit: Fit | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.parts, self.run_folder, self.evaluations = recipe, parts, run, evaluations
        self.base, self.fit = base, fit

    @property
    def label(self) -> str:
        """What it is called where stages are listed."""
        return "evaluation"

    def check(self) -> None:
        """Pictures whose regions a file lacks are named before the training."""
        self._regions().check(self._shown())

    def done(self) -> bool:
        """Whether the numbers are there that this recipe asks for: what it asks may change when a run is resumed."""
        if not self.recipe.evaluate:
            return True
        try:
            found = json.loads(Path(self.run_folder.evaluation).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return answers(found, self._asked())

    def run(self) -> None:
        """Measure each model, and the student of each epoch that was kept, on each suite that takes its kind."""
        device, workers, regions = self.parts.ranks.device, self.recipe.data.workers, self._regions()
        models = self._models()
        for state in self._compared():
            if state.missing is not None:
                print(f"teacher not evaluated: {state.missing}", file=sys.stderr)
        say_unread(self.evaluations, models)
        found = evaluate_models(self.evaluations, models, device, workers, regions, kept=self._kept(models))
        for folder in self._epochs():
            role = f"epoch {folder.name}"
            model = {role: (f"{self.recipe.student.label}, {role}", open_trained(folder, device))}
            measured = evaluate_models(
                self.evaluations, model, device, workers, regions, teachers_among(models), timed=False
            )
            found.setdefault("epochs", {})[folder.name] = measured["models"][role]
        examples = run_examples(self.evaluations, models, device, workers)
        if examples is not None:
            write_json(self.run_folder.examples, examples)
        write_json(self.run_folder.evaluation, {**found, "asked": self._asked()})  # last: it says that all is done

    def forecast(self) -> Forecast | None:
        """Each suite on a few pictures or questions of its data, with each model; and regions that are still to find.

        The student, its control and the model before training cost the same. What can't be run in part is named.
        """
        if self.done():
            return None
        shown = self._shown()
        found, disk = self._regions().cost(shown) if shown else (0.0, 0.0)
        seconds, untimed = self._seconds()
        what = ("regions to measure with, and " if found else "") + "evaluation"
        what += f" (without {', '.join(untimed)}, which can't be timed)" if untimed else ""
        return Forecast(what, seconds + found, disk_bytes=disk)

    def _seconds(self) -> tuple[float, list[str]]:
        """Of all models on all suites, their speeds too; and suites that couldn't be run in part."""
        device, workers = self.parts.ranks.device, self.recipe.data.workers
        student = self.fit.dry_task.student if self.fit is not None and self.fit.dry_task else self.parts.model
        named = self._teachers()
        teachers, kept = {role: model for role, (_, model) in named.items()}, self._kept(named)
        epochs = self.parts.recipe.train.epochs if self.parts.recipe.train.keep_epochs else 0
        alike = 1 + sum(role in self.recipe.compare for role in ("base", "control"))
        seconds = 0.0
        untimed: list[str] = []
        with untouched(student):
            measured: list[tuple[Any, int, int, Measured | None]] = [(student, alike + epochs, alike, None)]
            measured += [(each, 1, 1, kept.get(role)) for role, each in teachers.items()]
            for model, runs, times, known in measured:
                a_picture = 0.0
                for evaluation in self.evaluations:
                    if known is not None and known.holds(evaluation):
                        continue
                    try:
                        cost = suite_cost(evaluation, model.to(device), device, workers, self._dry_regions, teachers)
                    except (UserError, ValueError, ArithmeticError, LookupError):  # so small a part may lack something
                        cost = None
                    if cost is None:
                        untimed.append(evaluation.suite.NAME)
                        continue
                    seconds += runs * cost.seconds
                    a_picture = max(a_picture, cost.a_picture)
                seconds += times * a_picture * batch_of(device) * (LEAST_ROUNDS + 1)
        return seconds, list(dict.fromkeys(untimed))

    def _dry_regions(self, _mixture: Mixture, _path: Path | None) -> Any:
        """Noise of the right shape, for a model that sees regions."""
        if self.base is None:
            raise UserError("regions: there are none")
        spec = region_spec(self.recipe)
        return DryRegions(region_width(spec, self.base()), spec.most)

    def _shown(self) -> dict[str, tuple[Mixture, Path | None]]:
        """Pictures whose regions will be shown, and where their store is said to lie; none where all is measured."""
        if not sees_regions(self.recipe, self.parts.model) or self.done():
            return {}
        kind = find_task(self.parts.recipe.task.method).KIND
        return {
            f"{number} {name}": (Mixture([(source, None)]), path)
            for number, each in enumerate(self.evaluations)
            for name, (source, path) in each.suite.region_sources(each.opened, each.options, kind).items()
        }

    def _regions(self) -> EvaluationRegions:
        recipe, device = self.recipe, self.parts.ranks.device
        return EvaluationRegions(recipe.regions, self.base, self.run_folder.path, device, recipe.data.max_bad_share)

    def _asked(self) -> dict[str, Any]:
        values = self.recipe.model_dump(mode="json")
        return {key: values[key] for key in ("evaluate", "compare")}

    def _epochs(self) -> list[Path]:
        """Folders of the student of every epoch that was kept."""
        if not self.parts.recipe.train.keep_epochs:
            return []
        return sorted(self.run_folder.epochs.glob("[0-9]*"), key=lambda each: int(each.name))

    def _models(self) -> dict[str, tuple[str, Any]]:
        recipe, device = self.recipe, self.parts.ranks.device
        task = find_task(self.parts.recipe.task.method)
        models = self._teachers()
        base = KINDS[task.KIND].before(recipe.student, recipe.seed, device) if "base" in recipe.compare else None
        if base is not None:
            alike = base.KIND == task.KIND
            models["base"] = (f"{recipe.student.label}, before" if alike else str(base.name), base)
        if "control" in recipe.compare:
            models["control"] = (f"{recipe.student.label}, control", open_trained(self.run_folder.control, device))
        models["student"] = (recipe.student.label, open_trained(self.run_folder.path, device))
        return models

    def _teachers(self) -> dict[str, tuple[str, Any]]:
        """Role -> name and model of the teachers that are compared with, as far as there are any."""
        models: dict[str, tuple[str, Any]] = {}
        for state in self._compared():
            if state.model is not None:  # a teacher that the run made needs pairs to be one
                models[self._role(state)] = (state.spec.label, state.model)
        return models

    def _kept(self, models: Mapping[str, tuple[str, Any]]) -> dict[str, Measured]:
        """By role, where the results of teachers with a store are kept."""
        stores = {self._role(state): state.spec.store for state in self._compared()}
        device = self.parts.ranks.device
        return {role: Measured(store, models[role][1], device) for role, store in stores.items()
                if store is not None and role in models}  # fmt: skip

    def _role(self, state: TeacherState) -> str:
        return "teacher" if len(self.parts.teachers) == 1 else f"teacher {state.index + 1}"

    def _compared(self) -> list[TeacherState]:
        own = find_task(self.parts.recipe.task.method).OWN_TEACHER
        return self.parts.teachers if "teacher" in self.recipe.compare and not own else []
