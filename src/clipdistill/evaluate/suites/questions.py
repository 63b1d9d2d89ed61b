"""What the suites of questions share: finding their data, options, and the files that they write."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clipdistill.data.sources.guess import guess_format, parse_shorthand
from clipdistill.errors import UserError
from clipdistill.evaluate.predictions import Predictions, mean_of, read_predictions, write_predictions
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.sources import left_out, open_sources, some_of
from clipdistill.evaluate.suites.base import Data, Job, Suite, SuiteOptions, Trial
from clipdistill.files import require_writable

SPLITS = {"vcr": "val", "snli_ve": "dev", "vqa_v2": "val", "easy_vqa": "test"}
"""Format -> the split that is measured where a folder is named without one."""
IN_A_WORLD: dict[str, tuple[str, dict[str, str]]] = {
    "vcr": ("vcr", {"format": "vcr", "question_types": "petri"}),
    "snli_ve": ("snli_ve", {"format": "snli_ve"}),
    "vqa": ("vqa", {"format": "vqa_v2", "answers": "answers.txt"}),
}
"""Suite -> its folder in a petri world, and how that is opened. Its test split has labels."""


class QuestionOptions(SuiteOptions):
    """Options of every suite of questions."""

    name: str | None = None
    """what reports call the data; none = the source's name"""
    predictions: Path | None = None
    """write the model's probabilities to this file (npz), for the `ensemble` of another evaluation"""
    ensemble: tuple[Path, ...] = ()
    """files of `predictions` of further models: the mean of theirs and of this model's probabilities is measured"""

    regions: Path | None = None
    """of a fusion model: folder of a store of the pictures' regions; it is made by the run's `regions` if it isn't \
there; none = a folder in the run"""

    def outputs(self) -> dict[str, Path | None]:
        """Option -> the file that it asks for."""
        return {"predictions": self.predictions}


class SubmissionOptions(QuestionOptions):
    """Options of a suite whose benchmark has a leaderboard."""

    submission: Path | None = None
    """write the leaderboard's file: VCR's CSV of 21 columns, or VQA's JSON"""

    def outputs(self) -> dict[str, Path | None]:
        """With the submission."""
        return {**super().outputs(), "submission": self.submission}


@dataclass(frozen=True)
class Answered:
    """What a model answered.

    Attributes:
        rows: positions of the source that were answered, ascending.
        arrays: name -> float [n, ...], probabilities.
        bad: `{"id", "reason"}` of the rest. notes: artifacts of the result.
    """

    rows: list[int]
    arrays: dict[str, np.ndarray]
    bad: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


OptionsT = TypeVar("OptionsT", bound=QuestionOptions)


class QuestionSuite(Suite[OptionsT, dict[str, Any]]):
    """Questions of one or several sources by name; a result for each."""

    def region_sources(
        self, opened: dict[str, Any], options: OptionsT, kind: str
    ) -> Mapping[str, tuple[Any, Path | None]]:
        """All of them, for a fusion model."""
        return {name: (source, options.regions) for name, source in opened.items()} if kind == "fusion" else {}

    def run(self, job: Job, opened: dict[str, Any], options: OptionsT) -> list[Result]:
        """One result a source."""
        return [self.measure(job, name, opened, options) for name in opened]

    def sources(self, opened: dict[str, Any]) -> dict[str, Any]:
        """As opened."""
        return opened

    def trial(self, opened: dict[str, Any], options: OptionsT, kind: str, most: int) -> Trial:
        """Some questions of each source; no file is written or read."""
        parts = {name: some_of(source, most) for name, source in opened.items()}
        files: dict[str, Any] = dict.fromkeys(options.outputs(), None) | {"ensemble": ()}
        if "rationales" in type(options).model_fields:
            files["rationales"] = None
        larger = sum(map(len, opened.values())) / sum(map(len, parts.values()))
        return Trial(parts, options.model_copy(update=files), larger, pictures=pictures_asked(opened.values()))

    @abstractmethod
    def measure(self, job: Job, name: str, opened: dict[str, Any], options: OptionsT) -> Result:
        """Answer the questions of the source of that name, write what the options ask for, and measure."""

    def require_labels(
        self, sources: Mapping[str, Any], options: OptionsT, has: Callable[[Any], bool], what: str
    ) -> None:
        """Raise a UserError for a source with nothing to measure by, unless an output is asked for: it needs none."""
        for name, source in sources.items():
            if not has(source) and not any(options.outputs().values()):
                raise UserError(f"{self.NAME}: {name} has no {what} to measure by; set `submission: FILE` to answer it")


def pictures_asked(sources: Iterable[Any]) -> int:
    """How many different pictures questions are asked about."""
    return sum(len({source[row].image for row in range(len(source))}) for source in sources)


def open_questions(data: Data, suite: str, formats: tuple[str, ...], options: QuestionOptions) -> dict[str, Any]:
    """Sources by name. A petri world's folder means its test split; another folder the usual split for measuring.

    Raises:
        UserError: it can't be opened or is of another format; an output can't be written, or would be of two sources.
    """
    named = isinstance(data, Mapping) and "path" not in data and "format" not in data
    if named and isinstance(data, Mapping):
        if options.name is not None:
            raise UserError(f"name: '{options.name}' is for one source; several are named by their keys")
        sources = {str(key): _open(spec, suite, formats, str(key)) for key, spec in data.items()}
    else:
        source = _open(data, suite, formats, options.name)
        sources = {options.name or source.name: source}
    for option, path in options.outputs().items():
        if path is None:
            continue
        if len(sources) > 1:
            raise UserError(f"{option}: one file can't hold {len(sources)} sources; evaluate each for itself")
        require_writable(path, option)
    if options.ensemble and len(sources) > 1:
        raise UserError("ensemble: is of one source; evaluate each for itself")
    for path in options.ensemble:
        read_predictions(path)
    return sources


def finished(job: Job, source: Any, answered: Answered, options: QuestionOptions, names: tuple[str, ...] = ()) -> Any:
    """The probabilities to measure: the model's own, written where the options say so, or an ensemble's mean.

    Raises:
        UserError: an ensemble's file is of other questions or answers.
    """
    ids = tuple(str(source.ids[row]) for row in answered.rows)
    found = Predictions(ids, answered.arrays, names)
    if options.predictions is not None:
        write_predictions(output(options.predictions, job), found)
    if options.ensemble:
        answered.notes["ensemble"] = 1 + len(options.ensemble)
        found = mean_of(found, [(str(path), read_predictions(path)) for path in options.ensemble])
    return found


def output(path: Path, job: Job) -> Path:
    """A file that a model writes: with its role before the suffix where several models are measured."""
    return path if job.role is None else path.with_name(f"{path.stem}.{job.role.replace(' ', '_')}{path.suffix}")


def missing(source: Any, answered: Answered) -> dict[str, Any]:
    """`bad`, as results have it: what the source left out, and what couldn't be answered."""
    return {"bad": left_out(source, answered.bad)}


def _open(data: Any, suite: str, formats: tuple[str, ...], name: str | None) -> Any:
    spec = _spec(data, suite)
    folder = Path(str(spec.get("path", "")))
    kind = str(spec["format"])
    if kind not in formats:
        raise UserError(f"data: the suite {suite} reads {' or '.join(formats)}, and this is of format {kind}")
    if folder.is_dir():
        spec.setdefault("split", SPLITS[kind])
    if name is not None and "count" not in spec:
        spec["name"] = name
    return next(iter(open_sources(spec).values()))


def _spec(data: Any, suite: str) -> dict[str, Any]:
    if isinstance(data, Mapping):
        spec = dict(data)
        if "path" not in spec:
            raise UserError("data: `path` is missing")
    else:
        spec = {"path": str(data)} if Path(str(data)).is_dir() else dict(parse_shorthand(str(data)))
    if "format" in spec:
        return spec
    folder, how = IN_A_WORLD[suite]
    inside = Path(str(spec["path"])) / folder
    if inside.is_dir():
        return {**_in_world(inside, how), **{key: value for key, value in spec.items() if key != "path"}}
    if inside.parent.is_dir():  # of the suite's own format, whatever other files lie in it
        easy = suite == "vqa" and (inside.parent / "test" / "questions.json").is_file()
        return {"format": "easy_vqa" if easy else how["format"], **spec}
    return {**guess_format(spec["path"]), **spec}


def _in_world(folder: Path, how: Mapping[str, str]) -> dict[str, Any]:
    known = {"path": str(folder), "split": "test", "name": f"petri/{folder.name}", **how}
    if "answers" in known:
        known["answers"] = str(folder / known["answers"])
    return known
