"""The suite `vcr`: Q->A, QA->R and Q->AR of Visual Commonsense Reasoning, by any kind of model that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from clipdistill.errors import UserError
from clipdistill.evaluate.predictions import read_predictions, with_arrays_of
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.submissions import write_vcr_submission
from clipdistill.evaluate.suites.base import Data, Job, Suite
from clipdistill.evaluate.suites.fusion_answers import answer_vcr, without_head
from clipdistill.evaluate.suites.matching import labels_or_none, match_vcr
from clipdistill.evaluate.suites.questions import (
    Answered,
    QuestionOptions,
    finished,
    missing,
    open_questions,
    output,
)
from clipdistill.evaluate.vcr_accuracy import VcrScores, vcr_accuracies


class VcrOptions(QuestionOptions):
    """Options of the suite `vcr`."""

    match: Literal["ia", "iqa"] = "ia"
    """of a dual encoder: the text that is matched with the picture, the answer alone (`ia`) or question and answer"""
    crop: Literal["centre", "resize"] = "centre"
    """of a dual encoder: `centre` is the model's own preprocessing, which may cut the sides off; `resize` shows the \
whole picture, squeezed"""
    rationales: Path | None = None
    """a file of `predictions` of another model, whose rationales are measured with this one's answers: VL-BERT has a \
model for each"""
    submission: Path | None = None
    """write the leaderboard's file: VCR's CSV of 21 columns"""

    def outputs(self) -> dict[str, Path | None]:
        """With the submission."""
        return {**super().outputs(), "submission": self.submission}


def _by_matching(job: Job, source: Any, options: VcrOptions, every: bool) -> Answered:  # noqa: ARG001 - all come at once
    return match_vcr(job, source, options.match, options.crop == "resize")


ANSWERERS: dict[str, Callable[[Job, Any, VcrOptions, bool], Answered]] = {
    "dual_encoder": _by_matching,
    "fusion": lambda job, source, options, every: answer_vcr(job, source, options.regions, every),
}
"""Kind of model -> what scores answers, and rationales given the right answer (or, the last argument, every answer)."""


class Vcr(Suite[VcrOptions, dict[str, Any]]):
    """Visual Commonsense Reasoning: the right answer, the right rationale, both; also by type of question."""

    NAME = "vcr"
    KINDS = tuple(ANSWERERS)
    READ_BY: ClassVar[Mapping[str, str]] = {"match": "dual_encoder", "crop": "dual_encoder", "regions": "fusion"}
    Options = VcrOptions

    def open(self, data: Data, options: VcrOptions) -> dict[str, Any]:
        """Questions with four answers and four rationales; with labels, or an output that needs none."""
        sources = open_questions(data, self.NAME, ("vcr",), options)
        if options.rationales is not None:
            read_predictions(options.rationales, "rationales")
        for name, source in sources.items():
            if not _labelled(source) and not any(options.outputs().values()):
                raise UserError(f"vcr: {name} has no labels to measure by; set `submission: FILE` to answer it")
        return sources

    def unfit(self, model: Any, opened: dict[str, Any]) -> str | None:
        """A fusion model without the head."""
        return without_head(model, "vcr")

    def region_sources(
        self, opened: dict[str, Any], options: VcrOptions, kind: str
    ) -> Mapping[str, tuple[Any, Path | None]]:
        """All of them, for a fusion model."""
        return {name: (source, options.regions) for name, source in opened.items()} if kind == "fusion" else {}

    def run(self, job: Job, opened: dict[str, Any], options: VcrOptions) -> list[Result]:
        """One result a source."""
        return [self._one(job, name, source, options) for name, source in opened.items()]

    def _one(self, job: Job, name: str, source: Any, options: VcrOptions) -> Result:
        labelled = _labelled(source)
        every = not labelled or bool(options.ensemble) or any(options.outputs().values())
        answered = ANSWERERS[job.model.KIND](job, source, options, every)
        found = finished(job, source, answered, options)
        if options.rationales is not None:
            found = with_arrays_of(
                found, str(options.rationales), read_predictions(options.rationales, "rationales"), "rationales"
            )
        answers, rationales = found.arrays["answers"], found.arrays["rationales"]
        artifacts = {**answered.notes, **missing(source, answered)}
        if options.submission is not None:
            path = output(options.submission, job)
            write_vcr_submission(path, found.ids, answers, rationales)
            artifacts["submission"] = str(path)
        metrics: dict[str, float] = {}
        label, reason = (labels_or_none(source, answered.rows, one) for one in ("answer_label", "rationale_label"))
        if label is not None and reason is not None:
            scores = VcrScores(torch.from_numpy(answers), torch.from_numpy(rationales))
            types = [source[row].fields["question_types"] for row in answered.rows]
            metrics = vcr_accuracies(scores, label, reason, types)
            artifacts["types"] = {
                one: sum(one in some for some in types) for one in sorted({t for s in types for t in s})
            }
        return Result(self.NAME, name, len(answered.rows), metrics, artifacts)


def _labelled(source: Any) -> bool:
    return {"answer_label", "rationale_label"} <= set(source[0].fields)
