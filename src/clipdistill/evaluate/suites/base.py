"""What every suite is: typed options, data that is opened once, and a run of one model over it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError

from clipdistill.errors import UserError, explain
from clipdistill.evaluate.embed import Embedded, Encoder, embed_images, embed_texts
from clipdistill.evaluate.results import Progress, Result
from clipdistill.evaluate.templates import load_class_names, load_templates

Data = Mapping[str, Any] | str | Path
RegionsOf = Callable[[Any, Path | None], Any]
"""(mixture, where its store is said to lie; None = nowhere) -> an open store with a row for each of its samples."""


def _readable(value: Any) -> str | Path | tuple[str, ...]:
    load_templates(value)
    return value if isinstance(value, str | Path) else tuple(value)


Templates = Annotated[str | Path | tuple[str, ...], PlainValidator(_readable)]
"""What `load_templates` takes, and was seen to take."""
ClassNames = Annotated[tuple[str, ...], PlainValidator(lambda value: load_class_names(value))]
SeenClasses = Annotated[tuple[str, ...], PlainValidator(lambda value: load_class_names(value, field="seen_classes"))]
"""Names as `load_class_names` read them."""


class SuiteOptions(BaseModel):
    """Options of a suite, as they stand beside `suite:` in a recipe; unknown ones are errors.

    The docstring of a field is its line in docs/bring-your-data.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Job:
    """The model that a suite is run on, and how: where it lies, batch, decoding processes, progress.

    role: what the model is where several are measured ("student", "teacher"); None = it is the only one.
    regions: what opens a store of the regions of a source's pictures, for models that see regions; None = nothing does.
    teachers: by role, whom the model learned from, for suites that compare the two (`Suite.BESIDE_TEACHER`).
    """

    model: Encoder
    device: str | torch.device = "cpu"
    batch_size: int = 64
    workers: int = 0
    progress: Progress | None = None
    role: str | None = None
    regions: RegionsOf | None = None
    teachers: Mapping[str, Any] = field(default_factory=dict)

    def images(self, source: Any, squash: bool = False) -> Embedded:
        """Embed the pictures of a source; `squash` as in `embed_images`."""
        return embed_images(
            self.model,
            source,
            device=self.device,
            batch_size=self.batch_size,
            workers=self.workers,
            squash=squash,
            progress=self.progress,
        )

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts, [M, D]."""
        return embed_texts(self.model, texts, device=self.device, progress=self.progress)


@dataclass(frozen=True)
class Trial:
    """A small part of a suite's data, to be run for a forecast, and how much larger the whole is.

    opened, options: for `Suite.run`; nothing is written.
    pictures, texts: how many the whole embeds through its `Job`, whose pace is known by those of the part.
    larger: whole / part, for whatever else is done.
    """

    opened: Any
    options: Any
    larger: float = 1.0
    pictures: int = 0
    texts: int = 0


OptionsT = TypeVar("OptionsT", bound=SuiteOptions)
OpenedT = TypeVar("OpenedT")


class Suite(ABC, Generic[OptionsT, OpenedT]):
    """A named set of evaluators.

    A subclass says its name, the kinds of models that it takes and its options, opens its data (all that can be wrong
    with it is said there, before a model has run) and runs a model over what was opened.
    """

    NAME: ClassVar[str]
    KINDS: ClassVar[tuple[str, ...]] = ("dual_encoder",)
    """Kinds of models that it takes."""
    READ_BY: ClassVar[Mapping[str, str]] = {}
    """Option -> the one kind of model that reads it, for options that the suite's other kinds have no use for."""
    BESIDE_TEACHER: ClassVar[bool] = False
    """Whether it compares a model with its teachers."""
    Options: type[OptionsT]

    def read_options(self, given: Mapping[str, Any], where: str = "options") -> OptionsT:
        """The options, validated; files of templates and names are looked into.

        Raises:
            UserError: an option that the suite doesn't have, or one that can't be used; `where` begins the line.
        """
        try:
            return self.Options.model_validate(dict(given))
        except ValidationError as error:
            raise UserError(f"{where}: {self.NAME}: {explain(error, self.Options)}") from error
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    @abstractmethod
    def open(self, data: Data, options: OptionsT) -> OpenedT:
        """Open the data and see that it has what the suite needs; no picture is decoded and no model asked.

        Raises:
            UserError: it can't be opened, or lacks what the suite or its options need.
        """

    def sources(self, opened: OpenedT) -> Mapping[str, Any]:
        """The sources that models are measured on, by name; none of a suite that reads files of its own."""
        return {}

    def class_names(self, opened: OpenedT) -> Mapping[str, Sequence[str]]:
        """By data, the names of classes as they go into prompts."""
        return {}

    def trial(self, opened: OpenedT, options: OptionsT, kind: str, most: int) -> Trial | None:
        """At most `most` of the pictures or questions of each source, for a model of `kind`; None = can't be timed."""
        return None

    def unfit(self, model: Any, opened: OpenedT) -> str | None:
        """Why a model of one of the suite's kinds can't be measured, in a sentence; None when it can."""
        return None

    def region_sources(self, opened: OpenedT, options: OptionsT, kind: str) -> Mapping[str, tuple[Any, Path | None]]:
        """Sources whose pictures' regions a model of `kind` is shown, by name, and where their store is said to lie."""
        return {}

    @abstractmethod
    def run(self, job: Job, opened: OpenedT, options: OptionsT) -> list[Result]:
        """Run a model of one of the suite's kinds over what `open` gave, which any number of models may share."""

    def examples(self, opened: OpenedT) -> Any | None:
        """The source with captions that retrieval examples are drawn from; None where the suite has none."""
        return None
