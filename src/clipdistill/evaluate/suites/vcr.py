"""The suite `vcr`: Q->A, QA->R and Q->AR of Visual Commonsense Reasoning, by any kind of model that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from clipdistill.data.question_texts import Reads
from clipdistill.errors import UserError
from clipdistill.evaluate.predictions import read_predictions, with_arrays_of
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.submissions import write_vcr_submission
from clipdistill.evaluate.suites.base import Data, Job
from clipdistill.evaluate.suites.fusion_answers import answer_vcr, without_head
from clipdistill.evaluate.suites.matching import labels_or_none, match_vcr
from clipdistill.evaluate.suites.questions import (
    Answered,
    QuestionSuite,
    SubmissionOptions,
    finished,
    missing,
    open_questions,
    output,
)
from clipdistill.evaluate.vcr_accuracy import VcrScores, vcr_accuracies


class VcrOptions(SubmissionOptions):
    """Options of the suite `vcr`."""

    mode: Literal["q2a", "qa2r", "both"] = "both"
    """what is asked: of a student that learned to answer alone, `q2a` is measured in half the time"""
    match: Literal["ia", "iqa", "statement"] = "ia"
    """of a dual encoder: the text that is matched with the picture, the answer alone (`ia`), question and answer, or \
what they say together, as a sentence (`statement`, ours)"""
    crop: Literal["centre", "resize"] = "centre"
    """of a dual encoder: `centre` is the model's own preprocessing, which may cut the sides off; `resize` shows the \
whole picture, squeezed"""
    rationales: Path | None = None
    """a file of `predictions` of another model, whose rationales are measured with this one's answers: VL-BERT has a \
model for each"""


def _by_matching(job: Job, source: Any, options: VcrOptions, every: bool) -> Answered:  # noqa: ARG001 - all come at once
    found = match_vcr(job, source, options.match, options.crop == "resize")
    return replace(found, arrays={name: found.arrays[name] for name in ARRAYS[options.mode]})


def _by_heads(job: Job, source: Any, options: VcrOptions, every: bool) -> Answered:
    reads: dict[str, Reads] = {"answers": "answers", "rationales": "rationales_of_each" if every else "rationales"}
    return answer_vcr(job, source, options.regions, [reads[name] for name in ARRAYS[options.mode]])


ARRAYS = {"q2a": ("answers",), "qa2r": ("rationales",), "both": ("answers", "rationales")}
"""Mode -> what is scored."""
ANSWERERS: dict[str, Callable[[Job, Any, VcrOptions, bool], Answered]] = {
    "dual_encoder": _by_matching,
    "fusion": _by_heads,
}
"""Kind of model -> what scores answers, and rationales given the right answer (or, the last argument, every answer)."""


class Vcr(QuestionSuite[VcrOptions]):
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
        if options.mode != "both":
            files = {**options.outputs(), "rationales": options.rationales, "ensemble": options.ensemble}
            for option in (name for name, value in files.items() if value):
                raise UserError(f"{self.NAME}: `{option}` holds answers and rationales; it needs `mode: both`")
        self.require_labels(sources, options, _labelled, "labels")
        return sources

    def unfit(self, model: Any, opened: dict[str, Any]) -> str | None:
        """A fusion model without the head."""
        return without_head(model, "vcr")

    def measure(self, job: Job, name: str, opened: dict[str, Any], options: VcrOptions) -> Result:
        """See `QuestionSuite`."""
        source = opened[name]
        labelled = _labelled(source)
        every = not labelled or bool(options.ensemble) or any(options.outputs().values())
        answered = ANSWERERS[job.model.KIND](job, source, options, every)
        found = finished(job, source, answered, options)
        if options.rationales is not None:
            found = with_arrays_of(
                found, str(options.rationales), read_predictions(options.rationales, "rationales"), "rationales"
            )
        artifacts = {**answered.notes, **missing(source, answered)}
        if options.submission is not None:
            path = output(options.submission, job)
            write_vcr_submission(path, found.ids, found.arrays["answers"], found.arrays["rationales"])
            artifacts["submission"] = str(path)
        metrics: dict[str, float] = {}
        label, reason = (labels_or_none(source, answered.rows, one) for one in ("answer_label", "rationale_label"))
        if label is not None and reason is not None:
            arrays = {name: torch.from_numpy(each) for name, each in found.arrays.items()}
            scores = VcrScores(arrays.get("answers"), arrays.get("rationales"))
            types = [source[row].fields["question_types"] for row in answered.rows]
            metrics = vcr_accuracies(scores, label, reason, types)
            artifacts["types"] = {
                one: sum(one in some for some in types) for one in sorted({t for s in types for t in s})
            }
        return Result(self.NAME, name, len(answered.rows), metrics, artifacts)


def _labelled(source: Any) -> bool:
    return {"answer_label", "rationale_label"} <= set(source[0].fields)
