"""What an analysis reads, opened and checked before any long work: questions, models, regions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from clipdistill.analysis.reading import without_attention
from clipdistill.data import Mixture
from clipdistill.data.low_shot import LowShot
from clipdistill.data.question_texts import Reads
from clipdistill.errors import UserError
from clipdistill.evaluate.suites.base import Job, RegionsOf
from clipdistill.evaluate.suites.fusion_answers import Pairs, without_head
from clipdistill.evaluate.suites.questions import QuestionOptions, open_questions
from clipdistill.kinds import open_trained
from clipdistill.report.records import read_run
from clipdistill.runs.evaluation_regions import regions_of

TASKS: dict[str, tuple[tuple[str, ...], Reads]] = {
    "vcr": (("vcr",), "answers"),
    "snli_ve": (("snli_ve",), "hypothesis"),
    "vqa": (("vqa_v2", "easy_vqa"), "question"),
}
"""Suite and head -> formats of its data, and the text that is read with the picture."""


@dataclass(frozen=True)
class Questions:
    """Questions that are analysed: `part` of the `whole` source, and how a model reads and answers them."""

    suite: str
    reads: Reads
    name: str
    whole: Any
    part: Any

    def some(self, ids: Sequence[str]) -> Any:
        """The source with those questions alone."""
        return with_ids(self.whole, ids)


@dataclass(frozen=True)
class Subject:
    """A model that is analysed: where it lies, what reports call it, its seed (None = unknown)."""

    path: str
    name: str
    seed: int | None


def open_data(data: str, heads: Sequence[str], count: int | None) -> Questions:
    """Open questions; of more than `count` as many are drawn, the same ones every time.

    Args:
        data: a path, or format:path@split. heads: of the first model; they decide what a folder is opened as.

    Raises:
        UserError: other data, or fewer than `count`.
    """
    stated = data.partition(":")[0]
    suite = next((name for name, (formats, _) in TASKS.items() if stated in formats), None)
    if suite is None:
        fitting = [name for name in TASKS if name in heads]
        if len(fitting) != 1:
            raise UserError(f"--data {data}: say its format, such as vcr:{data} (vcr, snli_ve, vqa_v2 or easy_vqa)")
        suite = fitting[0]
    formats, reads = TASKS[suite]
    ((name, whole),) = open_questions(data, suite, formats, QuestionOptions()).items()
    if count is None:
        return Questions(suite, reads, name, whole, whole)
    if count > len(whole):
        raise UserError(f"--count {count}: {name} has {len(whole):,} questions; ask for fewer")
    rows = sorted(random.Random("evaluation").sample(range(len(whole)), count))
    return Questions(suite, reads, name, whole, with_ids(whole, [whole.ids[row] for row in rows]))


def with_ids(source: Any, ids: Sequence[str]) -> Any:
    """Some questions of a source, in its order.

    Raises:
        UserError: it has no question of such an id.
    """
    known = set(source.ids)
    strange = [one for one in ids if one not in known]
    if strange:
        raise UserError(f"--show {strange[0]}: {source.name} has no question of that id; the first is {source.ids[0]}")
    return source.part(LowShot(len(ids), 0, source.name, tuple(ids)))


class Opener:
    """Opens models, one at a time, with what finds their regions; runs that find regions alike share a store.

    Args:
        regions: folder of a store for all of them; None = each run's own.
    """

    def __init__(self, device: torch.device, batch_size: int, regions: Path | None) -> None:
        self.device, self.batch_size, self.place = device, batch_size, regions
        self._finders: dict[str, RegionsOf] = {}

    def model(self, path: str) -> Any:
        """A fusion model whose attention can be looked at; UserError when it can't."""
        found = open_trained(path, self.device)
        if why := without_attention(found):
            raise UserError(f"analyse: {path}: {why}")
        return found

    def job(self, path: str, model: Any, progress: Callable[[str, int, int], None] | None = None) -> Job:
        """How a suite would run it."""
        return Job(model, self.device, self.batch_size, progress=progress, regions=self._finder(path))

    def pairs(self, job: Job, questions: Questions, source: Any | None = None) -> Pairs:
        """The questions as a model reads them.

        Raises:
            UserError: the model lacks the head, or there are no regions that it could see.
        """
        if why := without_head(job.model, questions.suite):
            raise UserError(f"analyse: {why}")
        if cast(Any, job.model).sees == "regions" and job.regions is not None:
            # Of all pictures, whatever is drawn: the store serves the next analysis and evaluation too.
            job.regions(Mixture([(questions.whole, None)]), self.place)
        return Pairs(job, source or questions.part, self.place, questions.suite, questions.reads)

    def _finder(self, path: str) -> RegionsOf:
        found = regions_of(path, self.device)
        if found.spec is None:
            return found
        key = json.dumps(found.spec.model_dump(mode="json", exclude={"store"}), sort_keys=True)
        return self._finders.setdefault(key, found)


def subjects(paths: Sequence[str]) -> list[Subject]:
    """Models in the order of their seeds, where they are runs of different ones; else as they were given."""
    found = []
    for path in paths:
        run = (Path(path) / "recipe.yaml").is_file()
        recipe = read_run(path).recipe if run else {}
        seed = recipe.get("seed") if isinstance(recipe.get("seed"), int) else None
        found.append(Subject(path, str(recipe.get("name") or Path(path).name), seed))
    seeds = [one.seed for one in found]
    if None not in seeds and len(set(seeds)) == len(seeds):
        found.sort(key=lambda one: one.seed or 0)
    return found
