"""VQA v2: questions JSON and annotations JSON, with COCO's pictures.

A sample is a question, with the fields `question` (and `question_tags`, none), `question_id`, `answers` (ten, as
given), `answer_scores` ((number in the vocabulary, score) pairs), `question_type` and `answer_type`. The source's
`answers` are the vocabulary.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipdistill.data.pictures import picture_keys
from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources.annotations import read_json
from clipdistill.data.sources.base import existing, not_empty
from clipdistill.data.sources.questions import PictureFolder, QuestionSource, Skipped, picture_folder
from clipdistill.data.vqa_answers import ANSWERS, MIN_COUNT, load_vocabulary, make_vocabulary, soft_targets
from clipdistill.errors import UserError

GET = "questions and annotations are on visualqa.org's download page (v2_Questions_Train_mscoco.zip and its like)"
Record = tuple[int, str, Path, str, tuple[str, ...] | None, str, str]


def open_vqa_v2(
    path: str,
    *,
    name: str | None = None,
    split: str | None = None,
    annotations: str | None = None,
    answers: str | Sequence[str] | None = None,
    min_count: int = MIN_COUNT,
    root: str | None = None,
    subset: str | None = None,
    unlabelled: bool = False,
) -> VqaSource:
    """Open a questions file, or splits of a folder that holds the official files.

    Left out, and named with the reason, are questions without a picture, an annotation (where the split has any) or ten
    answers, and annotations without a question.

    split: of a folder: "train" unless said, "val", "test", "test-dev", or several joined by "+".
    annotations: of a questions file; none = the questions have no answers. A folder's are found by name, if it has any.
    answers: the vocabulary: a text file with an answer a line, JSON, or annotation files to make it of; none = made of
    the annotations opened here, of answers that are the most given one of `min_count` questions.
    root: the folder of the pictures, or of train2014, val2014 and test2015; by default beside the file or its folder,
    or images there. subset, unlabelled: see `low_shot`.

    Raises:
        UserError: no such file, split or picture folder, or nothing usable in it.
    """
    place = existing(path, "file or folder", GET)
    skipped: Skipped = []
    if place.is_dir():
        parts = [files_of(place, one.strip()) for one in (split or "train").split("+")]
        title = f"{place.name}_{(split or 'train').replace('+', '_')}"
    else:
        if split is not None:
            raise UserError(f"{place}: is a file, so it has no split '{split}'; name its folder, or leave 'split' out")
        parts = [(place, existing(annotations, "annotations file", GET) if annotations else None)]
        title = place.stem.removesuffix("_questions")
    records: list[Record] = []
    most_given: list[str] = []
    for questions, annotated in parts:
        records += _part(questions, annotated, root, skipped, most_given)
    not_empty(records, place, skipped, "usable questions")
    vocabulary: tuple[str, ...] = ()
    if answers is not None:
        vocabulary = load_vocabulary(answers, min_count)
    elif most_given:
        vocabulary = make_vocabulary(most_given, min_count)
        if not vocabulary:
            raise UserError(f"{place}: no answer is the most given one of {min_count} questions; lower 'min_count'")
    return VqaSource(
        name or title + ("_unlabelled" if unlabelled else ""), records, skipped, vocabulary, subset, unlabelled
    )


class VqaSource(QuestionSource):
    """Questions with answers of a vocabulary, `answers` (empty where there is none)."""

    LABELS = ("answers", "answer_scores", "answer_type")

    def __init__(
        self,
        name: str,
        records: Sequence[Record],
        skipped: Skipped,
        vocabulary: tuple[str, ...],
        subset: str | None,
        unlabelled: bool,
        ids: Sequence[str] | None = None,
    ) -> None:
        self._names = ids if ids is not None else [str(record[0]) for record in records]
        pictures = picture_keys((record[2], record[3]) for record in records)
        super().__init__(name, self._names, skipped, subset=subset, unlabelled=unlabelled, pictures=pictures)
        self._records = records
        self.answers = vocabulary
        self._places = {answer: number for number, answer in enumerate(vocabulary)}

    def outline(self, row: int) -> tuple[tuple[str, ...], int | None, ImageRef]:
        """No captions, no label."""
        _, _, folder, picture, _, _, _ = self._records[row]
        return (), None, ImageRef(str(folder / picture))

    def make(self, row: int) -> Sample:
        """From the record."""
        number, question, folder, picture, answers, kind, answer_type = self._records[row]
        fields: dict[str, Any] = {"question": question, "question_tags": (), "question_id": number}
        if kind:
            fields["question_type"] = kind
        if answers is not None:
            fields["answers"] = answers
            if self.answers:
                fields["answer_scores"] = self.scores(answers)
            if answer_type:
                fields["answer_type"] = answer_type
        return Sample(self._names[row], ImageRef(str(folder / picture)), fields=fields)

    def scores(self, answers: Sequence[str]) -> tuple[tuple[int, float], ...]:
        """(number in the vocabulary, score) pairs."""
        return soft_targets(answers, self._places)


def files_of(folder: Path, split: str) -> tuple[Path, Path | None]:
    """Questions and perhaps annotations of a split; the official names have a year behind it, which may be left out.

    Raises:
        UserError: no questions of that split.
    """
    found: list[Path | None] = []
    for kind in ("questions", "annotations"):
        pattern = re.compile(rf".*_{re.escape(split)}(20\d\d)?_{kind}\.json")
        fit = sorted(one for one in folder.iterdir() if pattern.fullmatch(one.name))
        # The real-image, open-ended task comes first where a folder holds multiple choice or abstract scenes too.
        fit.sort(key=lambda one: ("OpenEnded" not in one.name and kind == "questions", "abstract" in one.name))
        found.append(fit[0] if fit else None)
    if found[0] is None:
        there = sorted(one.name for one in folder.glob("*_questions.json"))
        raise UserError(f"{folder}: no questions of split '{split}'; it has {', '.join(there[:6]) or 'none at all'}")
    return found[0], found[1]


def _part(
    questions: Path, annotated: Path | None, root: str | None, skipped: Skipped, most_given: list[str]
) -> list[Record]:
    content = read_json(questions)
    asked = content.get("questions") if isinstance(content, dict) else None
    if not isinstance(asked, list):
        raise UserError(f"{questions}: not VQA's questions (no list 'questions' in it)")
    pictures = _pictures(questions, root, str(content.get("data_subtype") or ""))
    known = _annotations(annotated, skipped) if annotated is not None else None
    records: list[Record] = []
    seen: set[int] = set()
    for place, item in enumerate(asked):
        record = _record(item, pictures, known, seen)
        if isinstance(record, str):
            number = item.get("question_id") if isinstance(item, dict) else None
            skipped.append((f"question {place}" if number is None else str(number), record))
            continue
        records.append(record)
        if known is not None:
            most_given.append(str(known[record[0]].get("multiple_choice_answer") or _most(record[4])))
    numbers = [item.get("question_id") for item in asked if isinstance(item, dict)]
    asked_for = {one for one in numbers if isinstance(one, int)}
    skipped += [(str(one), "an annotation without a question") for one in known or () if one not in asked_for]
    return records


def _pictures(questions: Path, root: str | None, subtype: str) -> PictureFolder:
    """test-dev2015's pictures are test2015's."""
    subtype = subtype.replace("-dev", "")
    bases = [existing(root, "folder")] if root else [questions.parent, questions.parent.parent]
    names = [subtype, "images", f"images/{subtype}"] if subtype else ["images"]
    return picture_folder([*(base / one for base in bases for one in names), *bases], questions)


def _annotations(file: Path, skipped: Skipped) -> dict[int, dict[str, Any]]:
    content = read_json(file)
    found = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise UserError(f"{file}: not VQA's annotations (no list 'annotations' in it)")
    known: dict[int, dict[str, Any]] = {}
    for place, item in enumerate(found):
        number = item.get("question_id") if isinstance(item, dict) else None
        if not isinstance(number, int):
            skipped.append((f"annotation {place}", "no 'question_id'"))
        else:
            known[number] = item
    return known


def _record(
    item: Any, pictures: PictureFolder, known: dict[int, dict[str, Any]] | None, seen: set[int]
) -> Record | str:
    """A record, or what is wrong with the question."""
    if not isinstance(item, dict):
        return "not a JSON object"
    for key in ("question_id", "image_id", "question"):
        if key not in item:
            return f"no '{key}'"
    number, image, question = item["question_id"], item["image_id"], item["question"]
    if not isinstance(number, int):
        return "question_id isn't a whole number"
    if number in seen:
        return "question_id comes twice"
    seen.add(number)
    if not isinstance(question, str) or not question.strip():
        return "no question in 'question'"
    picture = pictures.numbered(image) if isinstance(image, int) else pictures.named(str(image))
    if picture is None:
        return f"no picture of image_id {image} in {pictures.folder}"
    text, picture = " ".join(question.split()), sys.intern(picture)
    if known is None:
        return number, text, pictures.folder, picture, None, "", ""
    annotation = known.get(number)
    if annotation is None:
        return "no annotation"
    given = annotation.get("answers")
    if not isinstance(given, list) or len(given) != ANSWERS:
        return f"{len(given) if isinstance(given, list) else 'no list of'} answers, not {ANSWERS}"
    if not all(isinstance(one, dict) and isinstance(one.get("answer"), str) for one in given):
        return "an answer without text in 'answer'"
    if annotation.get("image_id", image) != image:
        return f"its annotation is of image_id {annotation['image_id']}, not {image}"
    answers = tuple(sys.intern(one["answer"]) for one in given)
    kind, answer_type = (sys.intern(str(annotation.get(key) or "")) for key in ("question_type", "answer_type"))
    return number, text, pictures.folder, picture, answers, kind, answer_type


def _most(answers: tuple[str, ...] | None) -> str:
    return max(answers, key=answers.count) if answers else ""
