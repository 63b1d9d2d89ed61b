"""The suite `snli_ve`: does a picture entail a sentence, contradict it, or neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from clipdistill.data.sources.snli_ve import CLASSES
from clipdistill.errors import UserError
from clipdistill.evaluate.entailment import best_mapping, confusion, entailment_accuracies
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.sources import labels_of
from clipdistill.evaluate.suites.base import Data, Job
from clipdistill.evaluate.suites.fusion_answers import classify_pairs, without_head
from clipdistill.evaluate.suites.matching import match_snli_ve
from clipdistill.evaluate.suites.questions import (
    Answered,
    QuestionOptions,
    QuestionSuite,
    finished,
    missing,
    open_questions,
)


class SnliVeOptions(QuestionOptions):
    """Options of the suite `snli_ve`."""

    fit: dict[str, Any] | str | None = None
    """of a dual encoder: other data whose pairs the clusters are found of, as `data` is given; no label is looked at. \
CLIP-TD finds them of the validation set. None = of what is measured"""
    restarts: int = Field(10, ge=1)
    """of a dual encoder: starts of k-means, of which the tightest clustering is kept"""
    seed: int = 0
    """of a dual encoder: of k-means' starts"""
    crop: Literal["centre", "resize"] = "centre"
    """of a dual encoder: as for vcr"""


class Opened(dict[str, Any]):
    """Sources by name, and the one that clusters are found of."""

    fit: Any = None


def _by_clusters(job: Job, source: Any, options: SnliVeOptions, fit: Any) -> Answered:
    return match_snli_ve(job, source, options.crop == "resize", options.seed, options.restarts, fit)


ANSWERERS: dict[str, Callable[[Job, Any, SnliVeOptions, Any], Answered]] = {
    "dual_encoder": _by_clusters,
    "fusion": lambda job, source, options, _fit: classify_pairs(job, source, options.regions),
}
"""Kind of model -> what gives `classes`, [n, 3] in the order of the source's classes."""


class SnliVe(QuestionSuite[SnliVeOptions]):
    """Visual entailment: accuracy over all pairs and by class."""

    NAME = "snli_ve"
    KINDS = tuple(ANSWERERS)
    READ_BY: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("fit", "restarts", "seed", "crop"), "dual_encoder"),
        "regions": "fusion",
    }
    Options = SnliVeOptions

    def open(self, data: Data, options: SnliVeOptions) -> Opened:
        """Pairs of a picture and a hypothesis, with their classes."""
        sources = Opened(open_questions(data, self.NAME, ("snli_ve",), options))
        for name, source in sources.items():
            if source[0].label is None:
                raise UserError(f"snli_ve: {name} has no labels to measure by; remove its `unlabelled`")
        if options.fit is not None:
            try:
                (sources.fit,) = open_questions(options.fit, self.NAME, ("snli_ve",), QuestionOptions()).values()
            except (UserError, ValueError) as error:
                why = error if isinstance(error, UserError) else "more than one source; name one"
                raise UserError(f"fit: {why}") from error
        return sources

    def unfit(self, model: Any, opened: dict[str, Any]) -> str | None:
        """A fusion model without the head."""
        return without_head(model, "snli_ve", len(CLASSES))

    def measure(self, job: Job, name: str, opened: dict[str, Any], options: SnliVeOptions) -> Result:
        """See `QuestionSuite`."""
        source = opened[name]
        answered = ANSWERERS[job.model.KIND](job, source, options, getattr(opened, "fit", None))
        shares = torch.from_numpy(finished(job, source, answered, options, source.classes).arrays["classes"])
        label = labels_of(source, torch.tensor(answered.rows, dtype=torch.int64), name)
        predicted = shares.argmax(1)
        metrics = entailment_accuracies(predicted, label, source.classes)
        artifacts = {**answered.notes, **confusion(predicted, label, source.classes), **missing(source, answered)}
        if "clusters" in answered.notes and not options.ensemble:
            artifacts["accuracy_of_the_best_mapping"] = best_mapping(predicted, label, source.classes)
        return Result(self.NAME, name, len(label), metrics, artifacts)
