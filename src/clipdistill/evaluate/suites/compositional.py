"""The suite `compositional`: Winoground, ARO, SugarCrepe and CLEVR pairs, by any kind of model that scores pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import Field, field_validator

from clipdistill.evaluate.compositional import (
    DualEncoderMatcher,
    Matcher,
    Part,
    check_parts,
    read_benchmarks,
    score_parts,
)
from clipdistill.evaluate.diffusion_score import DiffusionScore
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.suites.base import Data, Job, Suite, SuiteOptions, Trial


class CompositionalOptions(SuiteOptions):
    """Options of the suite `compositional`; all are a denoiser's."""

    samples: int = Field(50, ge=1)
    """of a diffusion model: denoisings a picture and caption (50 are the paper's)"""
    t_range: tuple[float, float] = (0.0, 1.0)
    """of a diffusion model: the share of the noise levels that they are spread over"""

    @field_validator("t_range")
    @classmethod
    def _is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 1:
            raise ValueError(f"{list(value)} isn't two shares of the noise levels, low < high, such as [0.2, 1]")
        return value


class Benchmarks:
    """The benchmarks that were found; their pictures are looked at once, before the first model's first score."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.past: list[int] | None = None


def _by_cosine(job: Job, _: CompositionalOptions) -> Matcher:
    return DualEncoderMatcher(job.model, device=job.device, batch_size=job.batch_size)


def _by_denoising(job: Job, options: CompositionalOptions) -> Matcher:
    return DiffusionScore(
        job.model, batch_size=job.batch_size, device=job.device, samples=options.samples, t_range=options.t_range
    )


MATCHERS: dict[str, Callable[[Job, CompositionalOptions], Matcher]] = {
    "dual_encoder": _by_cosine,
    "denoiser": _by_denoising,
}
"""Kind of model -> what scores pictures against captions with it."""


class Compositional(Suite[CompositionalOptions, Benchmarks]):
    """Which caption belongs to which picture, where the same words or things are combined in another way."""

    NAME = "compositional"
    KINDS = tuple(MATCHERS)
    READ_BY: ClassVar[Mapping[str, str]] = {"samples": "denoiser", "t_range": "denoiser"}
    Options = CompositionalOptions

    def open(self, data: Data, options: CompositionalOptions) -> Benchmarks:
        """The annotations of every benchmark that is there."""
        return Benchmarks(read_benchmarks(data))

    def trial(self, opened: Benchmarks, options: CompositionalOptions, kind: str, most: int) -> Trial:
        """Some cases of each benchmark; of a diffusion model one, with two denoisings."""
        denoises = kind == "denoiser"
        most = 1 if denoises else most
        parts = [replace(part, groups=part.groups[:: max(1, len(part.groups) // most)][:most]) for part in opened.parts]
        few = Benchmarks(parts)
        few.past = [0] * len(parts)  # the pictures of all are looked at once, before the first model
        larger = sum(len(part.groups) for part in opened.parts) / sum(len(part.groups) for part in parts)
        samples = min(2, options.samples)
        if denoises:
            larger *= options.samples / samples
        return Trial(few, options.model_copy(update={"samples": samples}), larger)

    def run(self, job: Job, opened: Benchmarks, options: CompositionalOptions) -> list[Result]:
        """One result a benchmark or part of one."""
        matcher = MATCHERS[job.model.KIND](job, options)
        if opened.past is None:
            opened.past = check_parts(opened.parts, job.progress)
        return score_parts(matcher, opened.parts, opened.past, job.progress)
