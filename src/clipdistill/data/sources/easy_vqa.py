"""easy-VQA (Zhou 2019): answers.txt, and train/ and test/ with questions.json and images/0.png, ..."""

from __future__ import annotations

import sys

from clipdistill.data.sources.annotations import read_json
from clipdistill.data.sources.base import existing, not_empty
from clipdistill.data.sources.questions import PictureFolder, Skipped
from clipdistill.data.sources.vqa_v2 import Record, VqaSource
from clipdistill.data.vqa_answers import load_vocabulary
from clipdistill.errors import UserError

GET = "pip download easy-vqa and unpack its data folder, or clone github.com/vzhou842/easy-VQA"
SPLITS = ("train", "test")


def open_easy_vqa(
    path: str,
    *,
    name: str | None = None,
    split: str = "train",
    subset: str | None = None,
    unlabelled: bool = False,
) -> EasyVqaSource:
    """Open a split of the folder that holds answers.txt, train and test.

    A sample is a question, with the fields of `vqa_v2`; it has one answer, whose score is 1. Left out, and named with
    the reason, are questions whose picture is missing or whose answer isn't in answers.txt.

    Raises:
        UserError: no such folder, split or file, or nothing usable in it.
    """
    folder = existing(path, "folder", GET)
    if split not in SPLITS:
        raise UserError(f"{folder}: easy-VQA has no split '{split}'; there are {', '.join(SPLITS)}")
    vocabulary = load_vocabulary(str(existing(folder / "answers.txt", "file", GET)))
    file = existing(folder / split / "questions.json", "file", GET)
    pictures = PictureFolder(existing(folder / split / "images", "folder", GET))
    content = read_json(file)
    if not isinstance(content, list):
        raise UserError(f"{file}: not easy-VQA's questions (a list of [question, answer, picture])")
    skipped: Skipped = []
    records: list[Record] = []
    ids = []
    for number, item in enumerate(content):
        one = f"{split}-{number}"
        if not isinstance(item, list) or len(item) != 3 or not isinstance(item[0], str) or not isinstance(item[2], int):
            skipped.append((one, "not a list of question, answer and picture number"))
            continue
        question, answer, image = item
        picture = pictures.numbered(image)
        if picture is None:
            skipped.append((one, f"no picture {image}.png in {pictures.folder}"))
        elif answer not in vocabulary:
            skipped.append((one, f"answer '{answer}' isn't in answers.txt"))
        else:
            records.append((number, question, pictures.folder, sys.intern(picture), (sys.intern(answer),), "", ""))
            ids.append(one)
    not_empty(records, file, skipped, "usable questions")
    title = name or f"easy_vqa_{split}" + ("_unlabelled" if unlabelled else "")
    return EasyVqaSource(title, records, skipped, vocabulary, subset, unlabelled, ids)


class EasyVqaSource(VqaSource):
    """One answer a question, and no more right than it."""

    def scores(self, answers: tuple[str, ...]) -> tuple[tuple[int, float], ...]:  # type: ignore[override]
        """The one answer, in full."""
        return ((self._places[answers[0]], 1.0),)
