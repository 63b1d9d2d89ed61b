"""The suite `petri`: what a petri world holds out, in retrieval and in zero-shot classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.sources import some_of
from clipdistill.evaluate.suites.base import Data, Job, Suite, Templates, Trial
from clipdistill.evaluate.suites.retrieval import Ranking, caption_count, check_captions, retrieval_results
from clipdistill.evaluate.suites.zero_shot import ToClassify, classes_trial, open_labelled, zero_shot_results


class PetriOptions(Ranking):
    """Options of the suite `petri`."""

    templates: Templates = "petri"
    """as for zero_shot"""


@dataclass(frozen=True)
class World:
    """A world's test pictures, and its folders of seen and unseen classes as far as they are there."""

    test: Any
    classes: list[ToClassify]


class Petri(Suite[PetriOptions, World]):
    """Retrieval on a petri world's test split; zero-shot on its seen and unseen classes, apart and among all."""

    NAME = "petri"
    Options = PetriOptions

    def open(self, data: Data, options: PetriOptions) -> World:
        """The sources in a world's folder."""
        from clipdistill.data.sources import open_source

        world = _folder(data)
        annotations = world / "dataset_petri.json"
        if not annotations.is_file():
            raise UserError(f"data: {annotations} is missing; make a world with: clipdistill petri {world}")
        test = open_source({"format": "karpathy", "path": str(annotations), "split": "test"})
        check_captions(test, "petri/test", options)
        folders = {part: world / "zero_shot" / part for part in ("seen", "unseen")}
        classes = [
            open_labelled(
                f"petri/{part}", open_source({"format": "imagefolder", "path": str(folder)}), options.templates
            )
            for part, folder in folders.items()
            if folder.is_dir()
        ]
        if not classes and "templates" in options.model_fields_set:
            raise UserError(f"templates: {world} has no zero_shot/ with classes to put into them; remove the option")
        return World(test, classes)

    def sources(self, opened: World) -> dict[str, Any]:
        """The test pictures, and the folders of classes."""
        return {"petri/test": opened.test} | {part.name: part.source for part in opened.classes}

    def class_names(self, opened: World) -> dict[str, Sequence[str]]:
        """Of the folders of classes."""
        return {part.name: part.classes for part in opened.classes}

    def trial(self, opened: World, options: PetriOptions, kind: str, most: int) -> Trial:
        """Some test pictures, and some of the classes."""
        test, classes = some_of(opened.test, most), classes_trial(opened.classes, options, most)
        pictures = len(opened.test) + classes.pictures
        part = World(test, classes.opened)
        return Trial(
            part,
            options.model_copy(update={"folds": None}),
            larger=pictures / (len(test) + sum(len(each.source) for each in part.classes)),
            pictures=pictures,
            texts=caption_count(opened.test) + classes.texts,
        )

    def run(self, job: Job, opened: World, options: PetriOptions) -> list[Result]:
        """Retrieval, then zero-shot where the world has classes."""
        results = retrieval_results(job, opened.test, "petri/test", options)
        return results + (zero_shot_results(job, opened.classes) if opened.classes else [])

    def examples(self, opened: World) -> Any:
        """The test pictures."""
        return opened.test


def _folder(data: Data) -> Path:
    if isinstance(data, Mapping):
        if others := set(data) - {"path"}:
            raise UserError(
                f"data: the suite petri takes a world's folder and nothing else; remove {', '.join(sorted(others))}"
            )
        data = data.get("path") or ""
    if not str(data):
        raise UserError("data: the suite petri needs the world's folder (path: DIR)")
    return Path(data)
