"""A VLM's answers to a benchmark's questions: their pictures found, shown, and asked about in batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipdistill.data.loader import evaluation_batches
from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources.llava import NO_PICTURE
from clipdistill.data.sources.questions import PictureFolder
from clipdistill.data.transforms import ImageView
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import inference
from clipdistill.evaluate.suites.base import Job
from clipdistill.evaluate.vlm import Question

PLACES = ("", "images", "val2014", "test2015", "train_images", "test")
"""Where benchmarks have their pictures, relative to the questions' folder or the one above it."""


class Asked:
    """A source of questions, each with its picture, or with a black one that isn't shown.

    Attributes:
        questions: in order. pictures: of each; None = it has none.
    """

    classes = None

    def __init__(self, name: str, questions: Sequence[Question], pictures: Sequence[Path | None]) -> None:
        self.name, self.questions, self.pictures = name, list(questions), list(pictures)
        self.ids = [one.id for one in questions]

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> Sample:
        picture = self.pictures[index]
        return Sample(self.ids[index], NO_PICTURE if picture is None else ImageRef.from_path(picture))

    def fingerprint(self) -> str:
        """Never asked: nothing is stored of it."""
        raise TypeError("a benchmark's questions have no store")


def find_pictures(
    name: str, questions: Sequence[Question], place: Path, images: Path | None
) -> tuple[Asked, list[dict[str, str]]]:
    """Find each question's picture: by its name, or COCO's by the number that they end with.

    Returns:
        the questions that can be asked; {"id", "reason"} of those whose picture isn't there.

    Raises:
        UserError: none is there.
    """
    wanted = [one.image for one in questions if one.image is not None]
    if not wanted:
        return Asked(name, questions, [None] * len(questions)), []
    bases = [place, place.parent] if place.is_dir() else [place.parent, place.parent.parent]
    candidates = [images] if images is not None else [base / one for base in bases for one in PLACES]
    folders = [_Folder(each) for each in candidates if each.is_dir()]
    folder = next((each for each in folders if any(each.find(one) for one in wanted[:16])), None)
    if folder is None:
        looked = ", ".join(str(each) for each in candidates[:3])
        raise UserError(f"vlm: no picture {wanted[0]} (looked in {looked}); set `images` to the pictures' folder")
    kept: list[Question] = []
    pictures: list[Path | None] = []
    lacking: list[dict[str, str]] = []
    for one in questions:
        picture = None if one.image is None else folder.find(one.image)
        if one.image is not None and picture is None:
            lacking.append({"id": one.id, "reason": f"no picture {one.image} in {folder.place}"})
            continue
        kept.append(one)
        pictures.append(picture)
    return Asked(name, kept, pictures), lacking


class _Folder:
    """A folder of pictures, perhaps in folders of their own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._names: PictureFolder | None = None

    def find(self, image: str) -> Path | None:
        if (self.place / image).is_file():
            return self.place / image
        coco = re.fullmatch(r"COCO_\w+_(\d{12})\.jpg", image)
        if coco is None:  # of other benchmarks a name's last number says nothing
            return None
        self._names = self._names or PictureFolder(self.place)
        found = self._names.numbered(int(coco[1]))
        return None if found is None else self.place / found


def answer_all(
    job: Job, asked: Asked, max_new_tokens: int, at_once: int | None
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Answer every question: id -> what was said; and {"id", "reason"} of those whose picture can't be read."""
    model: Any = job.model
    answers: dict[str, str] = {}
    bad: list[dict[str, str]] = []
    view = ImageView.from_preprocess(model.preprocess)
    batches = evaluation_batches(asked, view, at_once or job.batch_size, job.workers)  # type: ignore[arg-type]
    with inference(model, job.device):
        for batch in batches:
            bad += [{"id": str(one["id"]), "reason": str(one["reason"])} for one in batch["bad"]]
            rows = batch["sample"].tolist()
            if rows:
                shown = [asked.pictures[row] is not None for row in rows]
                pixels = batch["image/model"][[place for place, each in enumerate(shown) if each]]
                texts = [asked.questions[row].prompt for row in rows]
                said = model.answer(texts, pixels if len(pixels) else None, shown, max_new_tokens)
                answers |= dict(zip((asked.ids[row] for row in rows), said, strict=True))
            if job.progress:
                job.progress("questions", len(answers) + len(bad), len(asked))
    return answers, bad
