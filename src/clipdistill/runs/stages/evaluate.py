"""Evaluation of a run: the student and what the recipe compares it with, on every suite."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clipdistill.data import Mixture
from clipdistill.evaluate.suites import Evaluation
from clipdistill.files import write_json
from clipdistill.kinds import KINDS, open_trained
from clipdistill.recipe import Recipe
from clipdistill.runs.evaluation import evaluate_models, run_examples, say_unread, teachers_among
from clipdistill.runs.evaluation_regions import EvaluationRegions
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.parts import Parts
from clipdistill.runs.regions import sees_regions
from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.tasks import find_task


class Evaluate(Stage):
    """Write `evaluation.json`, and `examples.json` where a suite has captions to show.

    Args:
        parts: of the student's last training. evaluations: the suites, their data open.
        base: opens the model that regions are embedded by, for suites that show regions; None = there is none.
    """

    MAIN_ONLY = True

    def __init__(
        self, recipe: Recipe, parts: Parts, run: RunFolder, evaluations: Sequence[Evaluation],
        base: Callable[[], Any] | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.parts, self.run_folder, self.evaluations = recipe, parts, run, evaluations
        self.base = base

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
            found: dict[str, Any] = json.loads(Path(self.run_folder.evaluation).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(found.get("asked") == self._asked())

    def run(self) -> None:
        """Measure each model, and the student of each epoch that was kept, on each suite that takes its kind."""
        device, workers, regions = self.parts.ranks.device, self.recipe.data.workers, self._regions()
        models = self._models()
        say_unread(self.evaluations, models)
        found = evaluate_models(self.evaluations, models, device, workers, regions)
        for folder in self._epochs():
            role = f"epoch {folder.name}"
            model = {role: (f"{self.recipe.student.label}, {role}", open_trained(folder, device))}
            measured = evaluate_models(self.evaluations, model, device, workers, regions, teachers_among(models))
            found.setdefault("epochs", {})[folder.name] = measured["models"][role]
        write_json(self.run_folder.evaluation, {**found, "asked": self._asked()})
        examples = run_examples(self.evaluations, models, device, workers)
        if examples is not None:
            write_json(self.run_folder.examples, examples)

    def forecast(self) -> Forecast | None:
        """The regions of the pictures to measure with, where the student sees regions; the rest isn't timed."""
        shown = self._shown()
        if not shown:
            return None
        seconds, disk = self._regions().cost(shown)
        return Forecast("regions to measure with", seconds, disk_bytes=disk)

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
        models: dict[str, tuple[str, Any]] = {}
        if "teacher" in recipe.compare and not task.OWN_TEACHER:
            for state in self.parts.teachers:
                if state.missing is not None:
                    print(f"teacher not evaluated: {state.missing}", file=sys.stderr)
                elif state.model is not None:  # a teacher that the run made needs pairs to be one
                    role = "teacher" if len(self.parts.teachers) == 1 else f"teacher {state.index + 1}"
                    models[role] = (state.spec.label, state.model)
        others: dict[str, tuple[str, Callable[[], Any]]] = {
            "base": ("before", lambda: KINDS[task.KIND].new(recipe.student, recipe.seed, device)),
            "control": ("control", lambda: open_trained(self.run_folder.control, device)),
        }
        for role, (note, opened) in others.items():
            if role in recipe.compare:
                models[role] = (f"{recipe.student.label}, {note}", opened())
        models["student"] = (recipe.student.label, open_trained(self.run_folder.path, device))
        return models
