"""The suite `retrieval`: pictures by their captions and captions by their pictures, over whole sources and folds."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clipdistill.errors import UserError
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.retrieval import fold_metrics, retrieval_metrics
from clipdistill.evaluate.sources import captions_of, left_out, open_sources, some_of
from clipdistill.evaluate.suites.base import Data, Job, Suite, SuiteOptions, Trial


class Ranking(SuiteOptions):
    """Options of whatever measures retrieval."""

    folds: int | None = Field(None, ge=2)
    """measure in that many consecutive parts of the pictures too, and average; 5 parts of COCO's test pictures are \
"COCO 1K" """
    chunk: int = Field(2048, ge=1)
    """edge of a tile of similarities: memory, never the result"""


class RetrievalOptions(Ranking):
    """Options of the suite `retrieval`."""

    name: str | None = None
    """what reports call the data; none = the source's name"""


class Retrieval(Suite[RetrievalOptions, dict[str, Any]]):
    """Retrieval in both directions, with all captions."""

    NAME = "retrieval"
    Options = RetrievalOptions

    def open(self, data: Data, options: RetrievalOptions) -> dict[str, Any]:
        """Sources by name, each with captions and enough pictures for the folds."""
        sources = open_sources(data, options.name)
        for name, source in sources.items():
            check_captions(source, name, options)
        return sources

    def sources(self, opened: dict[str, Any]) -> dict[str, Any]:
        """As opened."""
        return opened

    def trial(self, opened: dict[str, Any], options: RetrievalOptions, kind: str, most: int) -> Trial:
        """Some pictures of each source with their captions."""
        parts = {name: some_of(source, most) for name, source in opened.items()}
        return Trial(
            parts,
            options.model_copy(update={"folds": None}),
            larger=sum(map(len, opened.values())) / sum(map(len, parts.values())),
            pictures=sum(map(len, opened.values())),
            texts=sum(caption_count(source) for source in opened.values()),
        )

    def run(self, job: Job, opened: dict[str, Any], options: RetrievalOptions) -> list[Result]:
        """One result a source, and one more with `folds`."""
        return [result for name, source in opened.items() for result in retrieval_results(job, source, name, options)]

    def examples(self, opened: dict[str, Any]) -> Any:
        """The first source."""
        return next(iter(opened.values()))


def caption_count(source: Any) -> int:
    """How many captions the pictures of a source have."""
    return sum(len(source[row].captions) for row in range(len(source)))


def check_captions(source: Any, name: str, options: Ranking) -> None:
    """Raise a UserError for a source without captions, or with fewer pictures than folds."""
    if not any(source[row].captions for row in range(len(source))):
        raise UserError(f"retrieval: {name} has no captions; use the suite zero_shot or a source with captions")
    if options.folds is not None and options.folds > len(source):
        raise UserError(
            f"retrieval: {name}: `folds` is {options.folds}; give a number from 2 to {len(source)}, its pictures"
        )


def retrieval_results(job: Job, source: Any, name: str, options: Ranking) -> list[Result]:
    """Measure retrieval between the pictures of a source and all of their captions; with `folds` in parts of it too."""
    embedded = job.images(source)
    texts, owner = captions_of(source, embedded.positions)
    vectors, bad = job.texts(texts), left_out(source, embedded.bad)
    metrics = retrieval_metrics(embedded.features, vectors, owner, options.chunk)
    facts: dict[str, Any] = {"texts": len(texts), "repeated_texts": len(texts) - len(set(texts)), "bad": bad}
    results = [Result("retrieval", name, len(embedded.positions), metrics, facts)]
    if options.folds is not None:
        parts = fold_metrics(embedded.features, vectors, owner, options.folds, options.chunk)
        mean = {key: sum(part[key] for part in parts) / options.folds for key in metrics}
        # Bad pictures are counted once, with the whole.
        facts = {"texts": len(texts), "folds": parts, "bad": []}
        results.append(Result("retrieval", f"{name}, {options.folds} folds", len(embedded.positions), mean, facts))
    return results
