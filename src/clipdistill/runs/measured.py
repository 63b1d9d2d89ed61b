"""What suites found of teachers that don't change, kept beside their stores: runs that share one measure it once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

import clipdistill
from clipdistill.data import Mixture
from clipdistill.errors import UserError
from clipdistill.evaluate import Result
from clipdistill.evaluate.suites import Evaluation, SuiteOptions
from clipdistill.files import write_json
from clipdistill.kinds import kind_of

CODE = ("data", "evaluate", "kinds", "models")
"""Folders of the package that decide what a model's numbers are: when their code changes, they are measured anew."""


class Measured:
    """The results of one teacher, a file a suite in the folder STORE.measured; no name or date is trusted.

    A file is found by a hash of the teacher's weights, the suite with its options, all samples of its data, the kind of
    device and this package's code. Two runs that measure at the same time write the same numbers.
    """

    def __init__(self, store: str | Path, model: Any, device: Any) -> None:
        self.folder = Path(f"{store}.measured")
        self.model, self.device = model, torch.device(device)

    def results(self, evaluation: Evaluation, measure: Callable[[], list[Result]]) -> list[Result]:
        """As kept; else what `measure` finds, which is then kept, where it can be."""
        path = self._path(evaluation)
        kept = None if path is None else _read(path)
        if kept is not None:
            print(f"teacher, {evaluation.suite.NAME}: measured before, {path}")
            return kept
        found = measure()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"model": self.model.name, "results": [each.to_dict() for each in found]})
        return found

    def holds(self, evaluation: Evaluation) -> bool:
        """Whether the results are kept."""
        path = self._path(evaluation)
        return path is not None and _read(path) is not None

    def _path(self, evaluation: Evaluation) -> Path | None:
        """None for suites that show regions or whose options name files, and for data that have no hash."""
        suite, options, opened = evaluation.suite, evaluation.options, evaluation.opened
        sources = suite.sources(opened)
        if not sources or _names_files(options) or suite.region_sources(opened, options, self.model.KIND):
            return None
        classes = {name: list(words) for name, words in suite.class_names(opened).items()}
        facts: list[Any] = [
            _code(),
            self._weights,
            self.device.type,
            suite.NAME,
            options.model_dump(mode="json", warnings=False),
            classes,
        ]
        for name, source in sources.items():
            mixture = Mixture([(source, None)])
            names = {field for row in range(len(source)) for field in source[row].fields}
            try:
                facts += [name, mixture.fingerprint(), mixture.fields_fingerprint(names)]
            except UserError:  # a value without a hash
                return None
            facts.append(getattr(source, "answers", None))
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode())
        return self.folder / f"{suite.NAME}-{digest.hexdigest()[:16]}.json"

    @cached_property
    def _weights(self) -> str:
        return kind_of(self.model).fingerprint(self.model)


def _names_files(options: SuiteOptions) -> bool:
    """Whether an option is a file, whose content may change under its name."""
    values = [value for _, value in options]
    flat = [one for value in values for one in (value if isinstance(value, tuple | list) else [value])]
    return any(isinstance(one, Path) or (isinstance(one, str) and Path(one).is_file()) for one in flat)


@cache
def _code() -> str:
    """A hash of the code that measures."""
    root, digest = Path(clipdistill.__file__).parent, hashlib.sha256()
    for file in sorted(each for folder in CODE for each in (root / folder).rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> list[Result] | None:
    """None where it isn't there or not whole: then it is measured again."""
    try:
        return [Result.from_dict(each) for each in json.loads(path.read_text(encoding="utf-8"))["results"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
