"""From a sample to what a fusion model reads: the numbers of its texts, and its picture's regions.

`models.fusion.batches.fusion_inputs` makes a model's `FusionInputs` of the entries of a batch that are made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clipdistill.data.fields import TOKEN_ROWS, Draw, Field, Picture
from clipdistill.data.fusion_regions import FusionRegions
from clipdistill.data.grid_fields import GridObjects
from clipdistill.data.question_texts import OPTIONS, Parts, Reads, fields_read, question_texts
from clipdistill.data.sample import Sample
from clipdistill.data.tagged_text import TaggedText
from clipdistill.errors import UserError

Layout = tuple[tuple[str, int], ...]
Coded = tuple[list[int], list[int], list[int]]
"""Numbers, types and tags of a text's tokens."""

_UNITER: dict[str, Layout] = {
    "answers": (("[CLS]", 0), ("question", 0), ("[SEP]", 2), ("answer", 2), ("[SEP]", 2)),
    "rationales": (
        ("[CLS]", 0), ("question", 0), ("[SEP]", 2), ("answer", 2), ("[SEP]", 3), ("rationale", 3), ("[SEP]", 3),
    ),
    "question": (("[CLS]", 0), ("question", 0), ("[SEP]", 0)),
    "hypothesis": (("[CLS]", 0), ("hypothesis", 0), ("[SEP]", 0)),
    "caption": (("[CLS]", 0), ("caption", 0), ("[SEP]", 0)),
}  # fmt: skip
_VL_BERT: dict[str, Layout] = {
    "answers": (("[CLS]", 0), ("question", 0), ("[SEP]", 0), ("answer", 1), ("[SEP]", 1)),
    "rationales": (("[CLS]", 0), ("question", 0), ("answer", 0), ("[SEP]", 0), ("rationale", 1), ("[SEP]", 1)),
    "question": (("[CLS]", 0), ("question", 0), ("[SEP]", 0), ("[MASK]", 1), ("[SEP]", 1)),
    "hypothesis": _UNITER["hypothesis"],
    "caption": _UNITER["caption"],
}
_BERT: dict[str, Layout] = {**_VL_BERT, "question": _UNITER["question"]}
LAYOUTS = {"uniter": _UNITER, "vl_bert": _VL_BERT, "bert": _BERT, "clip_vil": _UNITER}
"""Architecture -> what is read -> the sequence: marks and texts, each with its token type, as the authors have it."""


class FusionTexts(Field):
    """The texts of a sample as a fusion model reads them; entries `NAME/...` of the batch.

    `ids`, `types` int64 [B, L] or [B, O, L], `mask` bool likewise (True = a token), and `tags` int64 likewise: the
    number of the sample's object (`Sample.regions`) that a token belongs to, -1 = none. L is that of the batch's
    longest; padding is 0, its tags -1. O options: `answers` 4 pairs of the question and an answer; `rationales` 4
    of question, right answer (the first where it isn't known) and a rationale; `rationales_of_each` 16, four for each
    answer in turn.

    Args:
        model: a fusion model: its tokenizer, architecture and positions decide. CLIP adapters get the texts of a pair
            one behind the other, as their tokenizer takes them, without types and tags.
        reads: which texts. name: of the entries, `reads` by default.
        max_tokens: longer ones lose the ends of their longest text; None = as many as the model has positions for.

    Raises:
        UserError: more tokens than the model takes, or fewer types than the texts have.
    """

    def __init__(self, model: Any, reads: Reads, name: str | None = None, max_tokens: int | None = None) -> None:
        self.reads, self.name = reads, name or reads
        self.READS = fields_read(reads)
        self.options = OPTIONS[reads]
        self.tokenizer, self.key = model.tokenizer, model.vocabulary_key
        architecture = getattr(model.config, "architecture", None)
        self.layout = LAYOUTS[architecture][reads.removesuffix("_of_each")] if architecture in LAYOUTS else None
        self.max_tokens = 0
        if self.layout is not None:
            room = model.config.positions - (2 if architecture == "vl_bert" else 0)
            if max_tokens is not None and max_tokens > room:
                raise UserError(f"`task.max_tokens` is {max_tokens}, and '{model.name}' takes {room} tokens; lower it")
            types = 1 + max(number for _, number in self.layout)
            if types > model.config.types:
                raise UserError(
                    f"`student.model`: '{model.name}' has {model.config.types} token types, and {reads} need {types}; "
                    "name a model for VCR, or NAME-vcr:CHECKPOINT"
                )
            self.max_tokens = max_tokens or room
        self._kept: dict[str, tuple[list[int], list[tuple[int, int]]]] = {}
        self._pairs: dict[tuple[TaggedText, ...], Coded] = {}

    def __eq__(self, other: object) -> bool:
        def facts(one: FusionTexts) -> tuple[Any, ...]:
            return type(one), one.reads, one.name, one.layout, one.max_tokens, one.key or id(one.tokenizer)

        return isinstance(other, FusionTexts) and facts(self) == facts(other)

    __hash__ = None  # type: ignore[assignment]

    def check(self, data: Any) -> None:
        """The first sample of each source must have the texts."""
        for positions, _ in data.layout():
            if len(positions):
                self.texts(data[positions.start])

    def texts(self, sample: Sample) -> list[Parts]:
        """The texts by their names in the layout, one dict an option; see `question_texts`."""
        return question_texts(sample, self.reads)

    def row(self, sample: Sample, draw: Draw) -> Any:
        """Each text's tokens; for CLIP adapters the texts themselves."""
        texts = self.texts(sample)
        if self.layout is None:
            return [" ".join(part.text for part in one.values()) for one in texts]
        return [self._known(one) for one in texts]

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Padded to the longest."""
        flat = [one for row in rows for one in row]
        found = self._clip(flat) if self.layout is None else padded_texts(flat)
        if self.options:
            found = {name: value.unflatten(0, (len(rows), -1)) for name, value in found.items()}
        return {f"{self.name}/{name}": value for name, value in found.items()}

    def _clip(self, texts: list[str]) -> dict[str, torch.Tensor]:
        ids = self.tokenizer(texts)
        none = torch.zeros_like(ids)
        return {"ids": ids, "types": none, "mask": none == 0, "tags": none - 1}

    def places(self, texts: Parts) -> list[tuple[str, int, int]]:
        """Of each token the part that it stands in and the characters `start` to `end` of it; marks have ("", 0, 0).

        Raises:
            UserError: a CLIP adapter's, whose texts stay whole.
        """
        if self.layout is None:
            raise UserError("`student.model`: a CLIP adapter reads no words of its own; name a fusion model")
        words = self._fitted(texts)
        found: list[tuple[str, int, int]] = []
        for name, _ in self.layout:
            spans = self._tokenised(texts[name].text)[1][: len(words[name])] if name in words else [(0, 0)]
            found += [(name if name in words else "", start, end) for start, end in spans]
        return found

    def _known(self, texts: Parts) -> Coded:
        """Kept, since questions come again every epoch."""
        key = tuple(texts.values())
        if key not in self._pairs:
            if len(self._pairs) >= TOKEN_ROWS:
                self._pairs.clear()
            self._pairs[key] = self._coded(texts)
        return self._pairs[key]

    def _coded(self, texts: Parts) -> Coded:
        assert self.layout is not None
        words = self._fitted(texts)
        ids: list[int] = []
        types: list[int] = []
        tags: list[int] = []
        for name, kind in self.layout:
            part = words[name] if name in words else [(self.tokenizer.convert_tokens_to_ids(name), -1)]
            ids += [number for number, _ in part]
            tags += [tag for _, tag in part]
            types += [kind] * len(part)
        return ids, types, tags

    def _fitted(self, texts: Parts) -> dict[str, list[tuple[int, int]]]:
        """The tokens of each part; in BERT's way the longest loses its last one until all fit."""
        assert self.layout is not None
        words = {name: self._words(text) for name, text in texts.items()}
        marks = sum(name not in words for name, _ in self.layout)
        for _ in range(marks + sum(len(each) for each in words.values()) - self.max_tokens):
            max(words.values(), key=len).pop()
        return words

    def _words(self, text: TaggedText) -> list[tuple[int, int]]:
        """(number, tag) of each token; one that shares a character with a tag has it."""
        ids, places = self._tokenised(text.text)
        tags = [
            next((tag.region for tag in text.tags if start < tag.end and tag.start < end), -1) for start, end in places
        ]
        return list(zip(ids, tags, strict=True))

    def _tokenised(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Numbers of its tokens, and their characters; kept, since answers come again."""
        if text not in self._kept:
            if len(self._kept) >= TOKEN_ROWS:
                self._kept.clear()
            found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            self._kept[text] = (found["input_ids"], found["offset_mapping"])
        return self._kept[text]


def picture_fields(model: Any, data: Any) -> dict[str, Field]:
    """What a batch holds of the pictures for a fusion model, by what it says that it sees (`FusionBase.sees`).

    Raises:
        UserError: the data has no regions, or their features don't fit the model.
    """
    if model.sees == "nothing":
        return {}
    if model.sees == "pixels":
        picture = Picture.of(model.preprocess)
        return {"image/student": picture, "object_regions": GridObjects(picture.view, model.grid)}
    return {"regions": FusionRegions(data, model.region_width)}


def padded_texts(texts: Sequence[Coded]) -> dict[str, torch.Tensor]:
    """`ids`, `types`, `tags` int64 [N, L] and `mask` bool [N, L] of coded texts, L the longest's."""
    # Rows are filled as arrays: a small tensor each would take as long as the rest of a batch.
    shape = (len(texts), max(len(ids) for ids, _, _ in texts))
    ids, types, tags = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    mask = np.zeros(shape, bool)
    for place, (numbers, kinds, regions) in enumerate(texts):
        end = len(numbers)
        ids[place, :end], types[place, :end] = numbers, kinds
        tags[place, :end], mask[place, :end] = regions, True
    found = {"ids": ids, "types": types, "mask": mask, "tags": tags}
    return {name: torch.from_numpy(value) for name, value in found.items()}
