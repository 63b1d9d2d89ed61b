"""SNLI-VE: snli_ve_train.jsonl, snli_ve_dev.jsonl or snli_ve_test.jsonl, with Flickr30K's pictures.

A sample is a pair of picture and hypothesis: `Sample.label` is its class, `hypothesis` and `premise` are fields. The
premise, which entailment from pictures does without, is the picture's caption, and so `Sample.captions`.
"""

from __future__ import annotations

import sys
from typing import Any

from clipdistill.data.sample import ImageRef, Sample
from clipdistill.data.sources.base import existing, is_text, not_empty, unique_ids
from clipdistill.data.sources.questions import (
    PictureFolder,
    QuestionSource,
    Skipped,
    json_lines,
    picture_folder,
    split_file,
)
from clipdistill.errors import nearest

GET = "snli_ve_train.jsonl, snli_ve_dev.jsonl and snli_ve_test.jsonl come from github.com/necla-ml/SNLI-VE"
CLASSES = ("entailment", "neutral", "contradiction")
IMAGE_FIELDS = ("Flikr30kID", "Flickr30kID", "Flickr30K_ID")
"""Of the released files, as one would write it, and of their generator."""


def open_snli_ve(
    path: str,
    *,
    name: str | None = None,
    split: str | None = None,
    root: str | None = None,
    subset: str | None = None,
    unlabelled: bool = False,
) -> SnliVeSource:
    """Open a file of SNLI-VE's format, or with `split` ("train" unless said) one of a folder of them.

    Left out, and named with the reason, are pairs whose picture is missing, whose label is none of the three ("-" where
    the annotators didn't agree), or that lack the hypothesis or the picture's id under any of its spellings.

    root: the folder of the pictures, ID.jpg; by default flickr30k-images, flickr30k_images or images, beside the file
    or its folder. subset, unlabelled: see `low_shot`; without labels none are needed.

    Raises:
        UserError: no such file, split or picture folder, or nothing usable in it.
    """
    file, title = split_file(path, split, "snli_ve_{}.jsonl", "train", GET)
    bases = [existing(root, "folder")] if root else [file.parent, file.parent.parent]
    names = ("flickr30k-images", "flickr30k_images", "images")
    pictures = picture_folder([*(bases if root else []), *(base / one for base in bases for one in names)], file)
    skipped: Skipped = []
    rows = []
    for number, _, item in json_lines(file, skipped):
        one = str(item.get("pairID") or f"line {number}")
        row = _row(item, pictures, labels_needed=not unlabelled)
        if not isinstance(row, str) and not all(map(is_text, (one, *row[:3]))):
            one, row = repr(one), "half of a character in its id or text"
        if isinstance(row, str):
            skipped.append((one, row))
        else:
            rows.append((one, *row))
    not_empty(rows, file, skipped, "usable pairs")
    return SnliVeSource(
        name or title + ("_unlabelled" if unlabelled else ""), pictures, rows, skipped, subset, unlabelled
    )


class SnliVeSource(QuestionSource):
    """SNLI-VE's pairs."""

    def __init__(
        self,
        name: str,
        pictures: PictureFolder,
        rows: list[tuple[str, str, str, str, int]],
        skipped: Skipped,
        subset: str | None,
        unlabelled: bool,
    ) -> None:
        ids = unique_ids(row[0] for row in rows)
        super().__init__(
            name, ids, skipped, subset=subset, unlabelled=unlabelled, classes=CLASSES, pictures=[row[1] for row in rows]
        )
        self._names, self._pictures = ids, pictures
        self._table = rows
        labels = [row[4] for row in rows]
        self.strata = [CLASSES[labels[row]] if labels[row] >= 0 else None for row in self._rows.tolist()]
        self.strata_names = CLASSES

    def make(self, row: int) -> Sample:
        """From the table."""
        _, picture, premise, hypothesis, label = self._table[row]
        return Sample(
            self._names[row],
            ImageRef(str(self._pictures.folder / picture)),
            (premise,) if premise else (),
            None if label < 0 else label,
            fields={"hypothesis": hypothesis, "premise": premise},
        )


def _row(item: dict[str, Any], pictures: PictureFolder, labels_needed: bool) -> tuple[str, str, str, int] | str:
    """(picture, premise, hypothesis, label), or what is wrong with the line."""
    key = next((one for one in IMAGE_FIELDS if one in item), None)
    if key is None:
        hint = nearest(IMAGE_FIELDS[0], [one for one in item if one.lower().startswith("fl")])
        return f"no '{IMAGE_FIELDS[0]}' (nor {' nor '.join(IMAGE_FIELDS[1:])}){hint.replace('Did you mean', 'Is it')}"
    picture = pictures.named(str(item[key]))
    if picture is None:
        return f"no picture {item[key]} in {pictures.folder}"
    hypothesis = " ".join(str(item.get("sentence2") or "").split())
    if not hypothesis:
        return "no hypothesis in 'sentence2'"
    given = item.get("gold_label")
    if given not in CLASSES and labels_needed:
        why = " (the annotators didn't agree)" if given == "-" else ""
        return "no 'gold_label'" if given is None else f"label '{given}' is none of {', '.join(CLASSES)}{why}"
    label = CLASSES.index(given) if given in CLASSES else -1
    # Premises come in fives and more, pictures too: one string of each is kept.
    premise = sys.intern(" ".join(str(item.get("sentence1") or "").split()))
    return sys.intern(picture), premise, hypothesis, label
