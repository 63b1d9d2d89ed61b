"""Benchmarks of vision-language models: their questions, their official scores, and the files of answers.

No model is needed here: whatever answered, its answers are a mapping from a question's id to what was said.
"""

from __future__ import annotations

from pathlib import Path

from clipdistill.errors import UserError, nearest
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.vlm.answers import (
    lmms_eval_results,
    read_answers,
    write_llava_answers,
    write_lmms_eval_results,
)
from clipdistill.evaluate.vlm.base import Answers, Benchmark, Question, check, require_rule
from clipdistill.evaluate.vlm.gqa import GQA
from clipdistill.evaluate.vlm.mme import MME
from clipdistill.evaluate.vlm.mmmu import MMMU
from clipdistill.evaluate.vlm.pope import POPE
from clipdistill.evaluate.vlm.scienceqa import SCIENCEQA
from clipdistill.evaluate.vlm.textvqa import TEXTVQA
from clipdistill.evaluate.vlm.vqa_v2 import VQA_V2
from clipdistill.files import require_writable

BENCHMARKS: dict[str, Benchmark] = {one.name: one for one in (VQA_V2, GQA, TEXTVQA, SCIENCEQA, POPE, MME, MMMU)}

NAMED = 20
"""Of missing answers, so many are named; all are counted."""

__all__ = [
    "BENCHMARKS",
    "Answers",
    "Benchmark",
    "Question",
    "find_benchmark",
    "lmms_eval_results",
    "read_answers",
    "read_questions",
    "score",
    "score_answers_file",
    "write_llava_answers",
    "write_lmms_eval_results",
]


def find_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name. Raises `UserError` for one that isn't there."""
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark '{name}'; there are {', '.join(BENCHMARKS)}.{nearest(name, BENCHMARKS)}")
    return BENCHMARKS[name]


def read_questions(name: str, path: str | Path, split: str | None = None) -> list[Question]:
    """Read a benchmark's official question files.

    Raises:
        UserError: no such benchmark or path, a split where there are none, or a file that can't be used.
    """
    benchmark = find_benchmark(name)
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"{name}: {place}: no such file or folder; {benchmark.how}")
    if split is not None and not benchmark.splits:
        raise UserError(f"{name}: has no splits; leave '{split}' out")
    return benchmark.read(place, split)


def score(
    name: str, questions: list[Question], answers: Answers, *, rule: str | None = None, data: str | None = None
) -> Result:
    """Score answers. A question without an answer counts as wrong.

    Args:
        rule: one of the benchmark's; None = the first, which published numbers follow.
        data: what reports call the questions; None = the benchmark's name.

    Returns:
        A Result whose `metrics` are flat and whose `artifacts` say the rule, how many answers are `missing`, and which
        (`missing_ids`, the first 20).

    Raises:
        UserError: an unknown rule, an answer to no question, or questions whose answers aren't published.
    """
    benchmark = find_benchmark(name)
    rule = require_rule(benchmark, rule)
    missing = check(name, questions, answers)
    metrics = benchmark.score(questions, answers, rule)
    artifacts = {"rule": rule, "missing": len(missing), "missing_ids": missing[:NAMED]}
    return Result(name, data or name, len(questions), metrics, artifacts)


def score_answers_file(
    name: str,
    questions: str | Path,
    answers: str | Path,
    *,
    rule: str | None = None,
    split: str | None = None,
    submission: str | Path | None = None,
    lmms_eval: str | Path | None = None,
) -> Result:
    """Score anyone's answers file, and write what else is asked for.

    Args:
        questions: the benchmark's official files, see its reader.
        answers: LLaVA's JSON lines, or what a leaderboard takes.
        submission: write the form that the benchmark's own tool or server takes: a file, of POPE and MME a folder. With
            it, questions whose answers aren't published aren't scored (the Result has no metrics).
        lmms_eval: write lmms-eval's results JSON; only by rule `lmms_eval`.

    Raises:
        UserError: anything that `read_questions`, `read_answers` and `score` refuse, or a path that can't be written.
    """
    benchmark = find_benchmark(name)
    rule = require_rule(benchmark, rule)
    for field, path in (("--submission", submission), ("--lmms-eval", lmms_eval)):
        if path is not None:
            require_writable(path, field)
    if lmms_eval is not None:
        lmms_eval_results(benchmark, rule, {}, 0)  # refuses another rule before the work
    asked = read_questions(name, questions, split)
    said = read_answers(answers, benchmark, asked)
    if submission is not None:
        benchmark.write(Path(submission), asked, said)
        if not any(question.gold for question in asked):
            return Result(name, str(questions), len(asked), {}, {"rule": rule, "missing": len(asked) - len(said)})
    found = score(name, asked, said, rule=rule, data=Path(questions).name)
    if lmms_eval is not None:
        write_lmms_eval_results(lmms_eval, benchmark, rule, found.metrics, len(asked))
    return found
