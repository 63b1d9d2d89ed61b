"""Suites: named sets of evaluators with typed options, and the one call that runs one on a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from clipdistill.errors import UserError, nearest
from clipdistill.evaluate.embed import Encoder
from clipdistill.evaluate.results import Progress, Result
from clipdistill.evaluate.suites.base import Data, Job, RegionsOf, Suite, SuiteOptions
from clipdistill.evaluate.suites.compositional import Compositional
from clipdistill.evaluate.suites.likeness import Likeness
from clipdistill.evaluate.suites.petri import Petri
from clipdistill.evaluate.suites.retrieval import Retrieval
from clipdistill.evaluate.suites.snli_ve import SnliVe
from clipdistill.evaluate.suites.vcr import Vcr
from clipdistill.evaluate.suites.vlm import Vlm
from clipdistill.evaluate.suites.vqa import Vqa
from clipdistill.evaluate.suites.zero_shot import Downstream, ZeroShot

SUITES: dict[str, Suite[Any, Any]] = {
    suite.NAME: suite
    for suite in (
        Compositional(),
        Downstream(),
        Retrieval(),
        ZeroShot(),
        Petri(),
        Vcr(),
        SnliVe(),
        Vqa(),
        Vlm(),
        Likeness(),
    )  # fmt: skip
}

__all__ = ["SUITES", "Evaluation", "Job", "RegionsOf", "Suite", "SuiteOptions", "evaluate_suite", "find_suite",
           "open_suite", "refusal", "unread"]  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """A suite with its options, whose data is open: it can be run on any number of models."""

    suite: Suite[Any, Any]
    options: SuiteOptions
    opened: Any

    @property
    def examples(self) -> Any | None:
        """The source with captions that retrieval examples are drawn from; None without one."""
        return self.suite.examples(self.opened)

    def left_out(self, model: Any, teachers: Mapping[str, Any] | None = None) -> str | None:
        """Why the suite doesn't take a model, in a sentence; None when it does. teachers: by role, whom it had."""
        why = refusal(self.suite, model.KIND) or self.suite.unfit(model, self.opened)
        if why is None and self.suite.BESIDE_TEACHER and not self.fitting(teachers or {}):
            kinds = " or ".join(self.suite.KINDS)
            return f"{self.suite.NAME} compares a model with its teacher, and no {kinds} is measured beside as teacher"
        return why

    def fitting(self, teachers: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the teachers, by role, that the suite takes."""
        return {role: model for role, model in teachers.items() if refusal(self.suite, model.KIND) is None}

    def run(
        self,
        model: Any,
        *,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
        workers: int = 0,
        progress: Progress | None = None,
        role: str | None = None,
        regions: RegionsOf | None = None,
        teachers: Mapping[str, Any] | None = None,
    ) -> list[Result]:
        """Run the suite on one model.

        role: what the model is where several are measured; it goes into the names of files that the suite writes.
        regions: what opens a store of the pictures' regions, for models that see regions.
        teachers: by role, whom the model learned from; it may be one of them.

        Raises:
            UserError: a model that the suite doesn't take, or one that has diverged.
        """
        if why := self.left_out(model, teachers):
            raise UserError(f"suite: {why}")
        beside = self.fitting(teachers or {})
        return self.suite.run(
            Job(model, device, batch_size, workers, progress, role, regions, beside), self.opened, self.options
        )


def evaluate_suite(
    model: Encoder,
    suite: str,
    data: Data,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    workers: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    regions: RegionsOf | None = None,
) -> list[Result]:
    """Open a suite's data, run the suite on a model and return its results.

    Args:
        model: a DualEncoder, or what else the suite takes (`Suite.KINDS`).
        suite: `"retrieval"`, `"zero_shot"`, `"petri"` (retrieval on a petri world's test split and zero-shot on its
            seen and unseen classes, each among its own classes and among all of them), `"compositional"` (Winoground,
            ARO, SugarCrepe, CLEVR pairs), `"downstream"` (zero-shot on several data sets, each with its own prompt),
            questions: `"vcr"`, `"snli_ve"`, `"vqa"`; or `"vlm"`, benchmarks of models that answer in words.
            (`"likeness"` needs a teacher beside, as runs have it.)
        data: a source spec (`{"format": ..., "path": ...}`), several named ones (`{"coco": {...}, "flickr": {...}}`),
            or a path or "format:path@split". For `petri`: the world's folder. For `compositional`: a folder with
            winoground/, aro/, sugarcrepe/, clevr/, or a mapping benchmark -> folder.
        options: the suite's own, see its `Options`.
        progress: called as `progress(what, done, total)`.
        regions: (mixture, path or None) -> an open RegionStore of its pictures, for models that see regions.

    Raises:
        UserError: an unknown suite or option, an option that this model has no use for, data or a model that the suite
            can't use.
    """
    found = find_suite(suite)
    read = found.read_options(options or {})
    if why := refusal(found, model.KIND) or unread(found, read, model.KIND):
        raise UserError(f"suite: {why}")
    evaluation = open_suite(found, data, read)
    return evaluation.run(
        model, device=device, batch_size=batch_size, workers=workers, progress=progress, regions=regions
    )


def find_suite(name: str, where: str = "suite") -> Suite[Any, Any]:
    """The suite of that name; UserError, with the nearest, when there is none. `where` begins the line."""
    if name not in SUITES:
        raise UserError(f"{where}: no suite '{name}'.{nearest(name, SUITES)} Suites: {', '.join(SUITES)}.")
    return SUITES[name]


def open_suite(suite: Suite[Any, Any], data: Data, options: SuiteOptions) -> Evaluation:
    """Open what a suite reads, once for all models that will be run on it; UserError when it can't be used."""
    return Evaluation(suite, options, suite.open(data, options))


def refusal(suite: Suite[Any, Any], kind: str) -> str | None:
    """Why a suite doesn't take a kind of model, in a sentence; None when it does."""
    if kind in suite.KINDS:
        return None
    others = [name for name, each in SUITES.items() if kind in each.KINDS]
    fix = f"; it can be put through {', '.join(others)}" if others else ""
    return f"{suite.NAME} takes a model of kind {' or '.join(suite.KINDS)}, and this is a {kind}{fix}"


def unread(suite: Suite[Any, Any], options: SuiteOptions, kind: str) -> str | None:
    """Which options were given that a model of `kind` has no use for, in a sentence; None when there is none."""
    for name, reader in suite.READ_BY.items():
        if name in options.model_fields_set and kind != reader:
            return f"{suite.NAME}: `{name}` is for a {reader}, and this is a {kind}; remove it"
    return None
