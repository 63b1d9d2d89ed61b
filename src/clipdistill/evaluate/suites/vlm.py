"""The suite `vlm`: a benchmark of vision-language models, answered in batches and scored by its own rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field as Value
from pydantic import model_validator

from clipdistill.errors import UserError
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.suites.base import Data, Job, Suite, SuiteOptions, Trial
from clipdistill.evaluate.suites.questions import output
from clipdistill.evaluate.suites.vlm_answers import Asked, answer_all, find_pictures
from clipdistill.evaluate.vlm import (
    Question,
    find_benchmark,
    lmms_eval_results,
    read_questions,
    score,
    write_llava_answers,
    write_lmms_eval_results,
)
from clipdistill.evaluate.vlm.base import require_rule
from clipdistill.evaluate.vlm.textvqa import read_textvqa
from clipdistill.files import require_writable

WORLD, WORLD_NAME = "llava", "petri/llava"
"""The folder of questions in a petri world, and what reports call its test split."""


class VlmOptions(SuiteOptions):
    """Options of the suite `vlm`."""

    benchmark: str = "vqa_v2"
    """vqa_v2, gqa, textvqa, scienceqa, pope, mme or mmmu; the data are its official questions, a file or a folder"""
    split: str | None = None
    """of the questions, where the benchmark has splits; none = its usual one"""
    images: Path | None = None
    """the folder of pictures; none = beside the questions"""
    rule: str | None = None
    """how answers are scored, see vlm-benchmarks.md; none = the benchmark's first"""
    ocr: Path | None = None
    """of textvqa: TextVQA_Rosetta_OCR_v0.2_val.json, whose words go into the prompt, as in LLaVA's questions"""
    max_new_tokens: int = Value(128, ge=1)
    """tokens of an answer at most; lmms-eval has 16 for vqa_v2 and gqa, 128 for pope"""
    questions_at_once: int | None = Value(None, ge=1)
    """questions answered in one batch; none = as many as the command's or the run's batch"""
    answers: Path | None = None
    """write the answers to this file, LLaVA's JSON lines, for `clipdistill score`"""
    submission: Path | None = None
    """write the form that the benchmark's own tool or server takes: a file, of pope and mme a folder"""
    lmms_eval: Path | None = None
    """write lmms-eval's results JSON; only by rule lmms_eval"""
    name: str | None = None
    """what reports call the questions; none = the benchmark's name"""

    @model_validator(mode="after")
    def _fits_the_benchmark(self) -> VlmOptions:
        try:
            rule = require_rule(find_benchmark(self.benchmark), self.rule)
            if self.lmms_eval is not None:
                lmms_eval_results(find_benchmark(self.benchmark), rule, {}, 0)
        except UserError as error:
            raise ValueError(str(error)) from error
        if self.ocr is not None and self.benchmark != "textvqa":
            raise ValueError("`ocr` is of textvqa; remove it")
        return self


@dataclass(frozen=True)
class OpenedQuestions:
    """A benchmark's questions with their pictures.

    Attributes:
        name: what reports call them. questions: in the files' order. asked: a source of those that can be asked.
        lacking: {"id", "reason"} of those whose picture isn't there.
    """

    name: str
    questions: list[Question]
    asked: Asked
    lacking: list[dict[str, str]] = field(default_factory=list)


class Vlm(Suite[VlmOptions, OpenedQuestions]):
    """A benchmark of vision-language models, answered in words and scored by its own rules"""

    NAME = "vlm"
    KINDS = ("vlm",)
    Options = VlmOptions

    def open(self, data: Data, options: VlmOptions) -> OpenedQuestions:
        """Read the questions and look for their pictures; a petri world's folder means its test split.

        Raises:
            UserError: as the benchmark's reader; no picture is there; an output can't be written; nothing would be
                measured or written, since the answers aren't published.
        """
        place = Path(str(data["path"] if isinstance(data, Mapping) and "path" in data else data)).expanduser()
        split, images, name = options.split, options.images, options.name or options.benchmark
        if isinstance(data, Mapping) and "path" not in data:
            raise UserError("data: `path` is missing: name the benchmark's questions, a file or a folder")
        if options.benchmark == "vqa_v2" and (place / "world.json").is_file():
            split, name, images = split or "test", options.name or WORLD_NAME, images or place / "images"
            place = place / WORLD
        if options.ocr is not None:
            questions = read_textvqa(place, split, options.ocr)
        else:
            questions = read_questions(options.benchmark, place, split)
        for option in ("answers", "submission", "lmms_eval"):
            if (path := getattr(options, option)) is not None:
                require_writable(path, option)
        if not any(one.gold for one in questions) and not (options.answers or options.submission):
            raise UserError(
                f"vlm: the answers of {place} aren't published; set `submission` or `answers` to a file to answer them"
            )
        silent = [one.id for one in questions if not one.prompt]
        if silent:
            raise UserError(f"vlm: question '{silent[0]}' of {place} has no text to ask; name the questions' own file")
        asked, lacking = find_pictures(name, questions, place, images)
        return OpenedQuestions(name, questions, asked, lacking)

    def trial(self, opened: OpenedQuestions, options: VlmOptions, kind: str, most: int) -> Trial:
        """Some questions; no file is written."""
        asked = opened.asked
        rows = range(len(asked))[:: max(1, len(asked) // most)][:most]
        few = Asked(asked.name, [asked.questions[row] for row in rows], [asked.pictures[row] for row in rows])
        files = dict.fromkeys(("answers", "submission", "lmms_eval"), None)
        part = OpenedQuestions(opened.name, few.questions, few)
        return Trial(part, options.model_copy(update=files), larger=len(asked) / max(1, len(few)))

    def run(self, job: Job, opened: OpenedQuestions, options: VlmOptions) -> list[Result]:
        """Answer, write what the options ask for, score. What can't be asked counts as wrong."""
        benchmark = find_benchmark(options.benchmark)
        rule = require_rule(benchmark, options.rule)
        answers, bad = answer_all(job, opened.asked, options.max_new_tokens, options.questions_at_once)
        notes: dict[str, Any] = {"max_new_tokens": options.max_new_tokens, "bad": [*opened.lacking, *bad]}
        for option in ("answers", "submission"):
            path = getattr(options, option)
            if path is None:
                continue
            path = output(path, job)
            notes[option] = str(path)
            if option == "answers":
                write_llava_answers(path, opened.questions, answers, job.model.name)
            else:
                benchmark.write(path, opened.questions, answers)
        if not any(one.gold for one in opened.questions):
            return [Result(self.NAME, opened.name, len(answers), {}, {"rule": rule, **notes})]
        found = score(benchmark.name, opened.questions, answers, rule=rule, data=opened.name)
        if options.lmms_eval is not None:
            path = output(options.lmms_eval, job)
            write_lmms_eval_results(path, benchmark, rule, found.metrics, found.n)
            notes["lmms_eval"] = str(path)
        return [Result(self.NAME, opened.name, found.n, found.metrics, {**found.artifacts, **notes})]
