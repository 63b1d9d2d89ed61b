"""The suite `vqa`: open questions with an answer of a vocabulary, by the official score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from clipdistill.errors import UserError
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.submissions import write_vqa_submission
from clipdistill.evaluate.suites.base import Data, Job
from clipdistill.evaluate.suites.fusion_answers import answer_vqa, without_head
from clipdistill.evaluate.suites.matching import match_vqa
from clipdistill.evaluate.suites.questions import (
    Answered,
    QuestionSuite,
    SubmissionOptions,
    finished,
    missing,
    open_questions,
    output,
)
from clipdistill.evaluate.vqa_score import score_answers

TEMPLATE = "question: {question} answer: {answer}"
"""Of CLIP-ViL (Shen et al. 2021), section 3; CLIP-TD doesn't say how it would ask."""


class VqaOptions(SubmissionOptions):
    """Options of the suite `vqa`."""

    template: str = TEMPLATE
    """of a dual encoder: the text of an answer, with {answer} and perhaps {question} in it; without {question} the \
answers are embedded once"""
    crop: Literal["centre", "resize"] = "centre"
    """of a dual encoder: as for vcr"""
    always_normalise: bool = False
    """process answers that all ten people agree on too, as lmms-eval does; the official scorer compares them raw"""

    @field_validator("template")
    @classmethod
    def _holds_the_answer(cls, value: str) -> str:
        if "{answer}" not in value:
            raise ValueError(f"'{value}' has no {{answer}} in it")
        return value


def _by_prompts(job: Job, source: Any, options: VqaOptions, keep: bool) -> Answered:
    return match_vqa(job, source, options.template, options.crop == "resize", keep)


ANSWERERS: dict[str, Callable[[Job, Any, VqaOptions, bool], Answered]] = {
    "dual_encoder": _by_prompts,
    "fusion": lambda job, source, options, keep: answer_vqa(job, source, options.regions, keep),
}
"""Kind of model -> what gives `best`, [n] numbers of answers, and where all are to be kept `answers`, [n, A]."""


class Vqa(QuestionSuite[VqaOptions]):
    """Visual question answering: the official score, also by type of answer and of question."""

    NAME = "vqa"
    KINDS = tuple(ANSWERERS)
    READ_BY: ClassVar[Mapping[str, str]] = {"template": "dual_encoder", "crop": "dual_encoder", "regions": "fusion"}
    Options = VqaOptions

    def open(self, data: Data, options: VqaOptions) -> dict[str, Any]:
        """Questions and a vocabulary of answers; with people's answers, or an output that needs none."""
        sources = open_questions(data, self.NAME, ("vqa_v2", "easy_vqa"), options)
        for name, source in sources.items():
            if not source.answers:
                raise UserError(f"vqa: {name} has no vocabulary of answers; set `answers` of the data to a file")
        self.require_labels(sources, options, lambda source: "answers" in source[0].fields, "answers")
        return sources

    def unfit(self, model: Any, opened: dict[str, Any]) -> str | None:
        """A fusion model without the head."""
        found = (without_head(model, "vqa", len(source.answers)) for source in opened.values())
        return next((why for why in found if why), None)

    def measure(self, job: Job, name: str, opened: dict[str, Any], options: VqaOptions) -> Result:
        """See `QuestionSuite`."""
        source = opened[name]
        keep = options.predictions is not None or bool(options.ensemble)
        answered = ANSWERERS[job.model.KIND](job, source, options, keep)
        best = answered.arrays.pop("best")
        if keep:
            best = finished(job, source, answered, options, source.answers).arrays["answers"].argmax(1)
        answers = [source.answers[number] for number in best.tolist()]
        fields = [source[row].fields for row in answered.rows]
        artifacts = {**answered.notes, "vocabulary": len(source.answers), **missing(source, answered)}
        if options.submission is not None:
            path = output(options.submission, job)
            write_vqa_submission(path, [each["question_id"] for each in fields], answers)
            artifacts["submission"] = str(path)
        metrics: dict[str, float] = {}
        if fields and all("answers" in each for each in fields):
            scored = score_answers(answers, fields, always_normalise=options.always_normalise)
            metrics = {"accuracy": scored.accuracy}
            metrics |= {f"accuracy/{kind}": value for kind, value in scored.by_answer_type.items()}
            artifacts |= {"by_question_type": scored.by_question_type, "always_normalise": options.always_normalise}
        return Result(self.NAME, name, len(answers), metrics, artifacts)
