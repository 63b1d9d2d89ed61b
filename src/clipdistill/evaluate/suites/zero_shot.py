"""The suites `zero_shot` and `downstream`: classification by prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from clipdistill.errors import UserError
from clipdistill.evaluate.apart import Labelled, measure, split_rows
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.sources import Subset, labels_of, left_out, open_sources
from clipdistill.evaluate.suites.base import ClassNames, Data, Job, SeenClasses, Suite, SuiteOptions, Templates, Trial
from clipdistill.evaluate.templates import check_number_of_names, downstream_templates, load_templates
from clipdistill.evaluate.zero_shot import class_embeddings, class_prompts


class Naming(SuiteOptions):
    """Options of the classification of whole data sets."""

    name: str | None = None
    """what reports call the data; none = the source's name"""
    class_names: ClassNames | None = None
    """`imagenet` (CLIP's names for its 1,000 classes), a list, or a file with one name a line, in the order of the \
source's classes; used in the prompts instead of them"""
    seen_classes: SeenClasses | None = None
    """a list or file: these classes and the rest are also measured apart, and each among all"""


class ZeroShotOptions(Naming):
    """Options of the suite `zero_shot`."""

    templates: Templates = "plain"
    """`plain` ("a photo of a {}."), `openai` (the 80 for ImageNet), `petri`, `dclip`, `dclip_cifar10`, \
`dclip_cifar100` (DCLIP's), a file with one a line, or a list"""


class DownstreamOptions(Naming):
    """Options of the suite `downstream`."""

    templates: Templates | None = None
    """as for zero_shot; none = what CLIP's paper has for a data set of that name"""


NamingT = TypeVar("NamingT", bound=Naming)


@dataclass(frozen=True)
class ToClassify:
    """A source with class names, and the prompts for them.

    `classes` are in the order of the labels; `prompts` is what `load_templates` took, and `templates` what it gave.
    """

    name: str
    source: Any
    classes: tuple[str, ...]
    prompts: str | Path | Sequence[str]
    templates: tuple[str, ...]


class Classification(Suite[NamingT, list[ToClassify]]):
    """What both suites say of the sources that they opened."""

    def sources(self, opened: list[ToClassify]) -> dict[str, Any]:
        """Of each data set."""
        return {part.name: part.source for part in opened}

    def class_names(self, opened: list[ToClassify]) -> dict[str, Sequence[str]]:
        """Of each data set."""
        return {part.name: part.classes for part in opened}

    def trial(self, opened: list[ToClassify], options: NamingT, kind: str, most: int) -> Trial:
        """Some pictures of some classes of each data set, with some prompts."""
        return classes_trial(opened, options.model_copy(update={"seen_classes": None}), most)


class ZeroShot(Classification[ZeroShotOptions]):
    """Classification among a source's classes; several sources are measured among all of their classes too."""

    NAME = "zero_shot"
    Options = ZeroShotOptions

    def open(self, data: Data, options: ZeroShotOptions) -> list[ToClassify]:
        """Sources with classes that fit the names given."""
        sources = open_sources(data, options.name)
        if options.seen_classes is not None and len(sources) > 1:
            raise UserError("seen_classes: works on one source; give one, or name sources 'seen' and 'unseen' instead")
        return [open_labelled(name, source, options.templates, options) for name, source in sources.items()]

    def run(self, job: Job, opened: list[ToClassify], options: ZeroShotOptions) -> list[Result]:
        """One result a source and label space."""
        return zero_shot_results(job, opened, options.seen_classes)


class Downstream(Classification[DownstreamOptions]):
    """Zero-shot on several data sets, each among its own classes and with the prompts of CLIP's paper for it."""

    NAME = "downstream"
    Options = DownstreamOptions

    def open(self, data: Data, options: DownstreamOptions) -> list[ToClassify]:
        """Sources with classes that fit the names given, and the prompts for each."""
        found = []
        for name, source in open_sources(data, options.name).items():
            prompts = options.templates
            if prompts is None:
                prompts = downstream_templates(f"{getattr(source, 'name', '')} {name}")
            found.append(open_labelled(name, source, prompts, options))
        return found

    def run(self, job: Job, opened: list[ToClassify], options: DownstreamOptions) -> list[Result]:
        """Results of each data set by itself, with the prompts that it had."""
        results = []
        for part in opened:
            found = zero_shot_results(job, [part], options.seen_classes)
            for result in found:
                result.artifacts["prompts"] = (
                    str(part.prompts) if isinstance(part.prompts, str | Path) else list(part.prompts)
                )
            results += found
        return results


def open_labelled(
    name: str, source: Any, prompts: str | Path | Sequence[str], options: Naming | None = None
) -> ToClassify:
    """A source to classify; `options` may replace its class names and say which are seen.

    Raises:
        UserError: it has no classes, or not those that the options name.
    """
    if not getattr(source, "classes", None):
        raise UserError(f"zero_shot: {name} has no classes; use an imagefolder, cifar10 or cifar100 source")
    classes = tuple(source.classes)
    if options is not None and options.class_names is not None:
        check_number_of_names(options.class_names, len(classes))
        classes = options.class_names
    if options is not None and options.seen_classes is not None:
        split_rows(name, classes, options.seen_classes)
    return ToClassify(name, source, classes, prompts, load_templates(prompts))


def classes_trial(given: Sequence[ToClassify], options: SuiteOptions, most: int) -> Trial:
    """A trial of `zero_shot_results`: the first classes of each source, some of their pictures, two templates."""
    parts = []
    for each in given:
        count = min(most, len(each.classes))
        rows = islice((row for row in range(len(each.source)) if (each.source[row].label or 0) < count), most)
        few = replace(each, source=Subset(each.source, list(rows)), classes=each.classes[:count])
        parts.append(replace(few, templates=each.templates[:2]))
    pictures = sum(len(each.source) for each in given)
    return Trial(
        parts,
        options,
        larger=pictures / max(1, sum(len(each.source) for each in parts)),
        pictures=pictures,
        texts=sum(len(each.classes) * len(each.templates) for each in given),
    )


def zero_shot_results(job: Job, given: Sequence[ToClassify], seen: Sequence[str] | None = None) -> list[Result]:
    """Classify the pictures of each source; several sources are also measured among all of their classes together."""
    parts = []
    for each in given:
        embedded = job.images(each.source)
        label = labels_of(each.source, embedded.positions, each.name)
        bad = left_out(each.source, embedded.bad)
        parts.append(Labelled(each.name, each.classes, embedded.features, label, bad))
    names = list(dict.fromkeys(name for part in parts for name in part.classes))
    templates = given[0].templates
    vectors = class_embeddings(job.texts(class_prompts(names, templates)), len(names))
    return measure(parts, names, vectors, seen, len(templates))
