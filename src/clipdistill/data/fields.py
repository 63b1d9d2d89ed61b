"""Fields: what a batch can hold besides the numbers of its samples. Each is checked, drawn from a sample and collated.

A task says which fields it and its teachers read (`Task.fields`), by the names they have in the batch; the loader makes
just those. Equal fields share one tensor, so a teacher with the student's transform or tokenizer costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from clipdistill.data.draws import integer
from clipdistill.data.hard_negatives import hard_negatives
from clipdistill.data.sample import Sample
from clipdistill.data.transforms import AugmentRecord, ImageView
from clipdistill.errors import UserError

Tokenizer = Callable[[list[str]], torch.Tensor]

TOKEN_ROWS = 32_768
"""Captions whose tokens are kept in each worker; past that, new ones are tokenised each time."""


@dataclass
class Draw:
    """What was drawn for one sample of a batch: all that a field may use besides the sample itself.

    position: of the sample in the data. epoch, view: numbers. caption: which of its captions, -1 = it has none.
    bare: it is of a source that says that its pictures have none.
    pictures: each view that a field asked for, uint8 [H, W, 3]. size: width and height of the picture in its file, and
    record: what was done to it, None = nothing; where a field asked for a view.
    """

    seed: int
    position: int
    epoch: int
    view: int
    caption: int
    bare: bool = False
    pictures: dict[ImageView, np.ndarray] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    record: AugmentRecord | None = None


class Field:
    """One entry of a batch. Fields are compared with `==` and sent to the loader's workers, so they hold little."""

    READS: tuple[str, ...] = ()
    """Names of `Sample.fields` that it reads: a store whose targets depend on them goes stale when they change."""

    view: ImageView | None = None
    """How a picture must be decoded for it; None = it needs none."""

    def check(self, data: Any) -> None:
        """Look at the data before any batch is made; UserError when it lacks what this field reads."""

    def row(self, sample: Sample, draw: Draw) -> Any:
        """This field's part of one sample. It runs in a worker; BadImage lets another sample take the place."""
        raise TypeError(f"{type(self).__name__} must define row")

    def collate(self, rows: Sequence[Any]) -> Any:
        """The batch's entry; several entries as a dict by their full names."""
        return torch.from_numpy(np.stack(rows))


@dataclass(frozen=True)
class Picture(Field):
    """The drawn view of the picture as one model wants it: uint8 [B, 3, H, W]."""

    view: ImageView

    @classmethod
    def of(cls, preprocess: Any) -> Picture:
        """By a model's own preprocessing."""
        return cls(ImageView.from_preprocess(preprocess))

    def row(self, sample: Sample, draw: Draw) -> np.ndarray:
        """uint8 [3, H, W], a transposed look at the decoded picture."""
        return draw.pictures[self.view].transpose(2, 0, 1)

    def collate(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        """Copied side by side; no picture at all is a batch of none."""
        pixels = np.empty((len(rows), 3, *self.view.size), np.uint8)
        for place, row in enumerate(rows):
            pixels[place] = row
        return torch.from_numpy(pixels)


class Tokens(Field):
    """What every field of texts shares: a tokenizer, and the tokens of the texts that it has met.

    Two are equal when their tokenizers are: the same object, or the same `tokenizer_key` of their own.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._kept: dict[str, torch.Tensor] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokens) or type(self) is not type(other):
            return NotImplemented
        key = getattr(self.tokenizer, "tokenizer_key", None)
        return self.tokenizer == other.tokenizer or (
            key is not None and key == getattr(other.tokenizer, "tokenizer_key", None)
        )

    __hash__ = None  # type: ignore[assignment]

    def check(self, data: Any) -> None:
        """Each source must have captions, or say that it has none."""
        for positions, _ in data.layout():
            if not (sample := data[positions.start]).captions and not data.is_bare(positions.start):
                raise UserError(
                    f"'{sample.id}' has no caption and training needs some; for a data source of classes set "
                    "'templates', such as 'a photo of a {}.', or `captions: none` to train on its pictures alone"
                )

    def tokenised(self, texts: Sequence[str]) -> torch.Tensor:
        """Tokens of `texts`, int64 [B, L], from the cache where they are known."""
        kept = self._kept
        missing = [text for text in dict.fromkeys(texts) if text not in kept]
        fresh = dict(zip(missing, self.tokenizer(missing), strict=True)) if missing else {}
        tokens = torch.stack([kept[text] if text in kept else fresh[text] for text in texts])
        if len(kept) < TOKEN_ROWS:
            # Rows are cloned: a view would keep its whole batch of tokens alive.
            kept.update({text: row.clone() for text, row in fresh.items()})
        return tokens


class Caption(Tokens):
    """Tokens of the drawn caption: int64 [B, L]; of the empty text for a picture without captions."""

    def row(self, sample: Sample, draw: Draw) -> str:
        """The text."""
        if draw.bare:
            return ""
        if draw.caption < 0:
            raise UserError(f"'{sample.id}' has no caption; training on image-text pairs needs one a sample")
        return sample.captions[draw.caption]

    def collate(self, rows: Sequence[str]) -> torch.Tensor:
        """Tokenised, each text once."""
        return self.tokenised(rows)


class HardNegatives(Tokens):
    """False captions made of the drawn one (NegCLIP): `negative/student` int64 [B, N, L], `has_negative` bool [B, N].

    A caption may have fewer than N; the places without one hold the empty text.
    """

    def __init__(self, tokenizer: Tokenizer, count: int) -> None:
        super().__init__(tokenizer)
        self.count = count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HardNegatives) and bool(super().__eq__(other)) and self.count == other.count

    def row(self, sample: Sample, draw: Draw) -> list[str]:
        """Up to N texts: a pure function of seed, epoch, sample and caption."""
        if draw.bare:
            return []
        if draw.caption < 0:
            raise UserError(f"'{sample.id}' has no caption, and a false one is made of a true one")
        seed = integer(2**31, draw.seed, "negatives", draw.epoch)
        return hard_negatives(sample.captions[draw.caption], seed=seed, sample_id=sample.id, count=self.count)

    def collate(self, rows: Sequence[list[str]]) -> dict[str, torch.Tensor]:
        """Tokens, and which of them are there."""
        padded = [text for texts in rows for text in (*texts, *[""] * (self.count - len(texts)))]
        there = torch.tensor([[place < len(texts) for place in range(self.count)] for texts in rows])
        return {
            "negative/student": self.tokenised(padded).unflatten(0, (len(rows), self.count)),
            "has_negative": there,
        }


@dataclass(frozen=True)
class Label(Field):
    """The class of the sample: int64 [B], -1 = none."""

    def row(self, sample: Sample, draw: Draw) -> int:
        """The number."""
        return -1 if sample.label is None else sample.label

    def collate(self, rows: Sequence[int]) -> torch.Tensor:
        """Side by side."""
        return torch.tensor(rows, dtype=torch.int64)


@dataclass(frozen=True)
class Captions(Field):
    """All captions of the sample, as text: a list of B tuples."""

    def row(self, sample: Sample, draw: Draw) -> tuple[str, ...]:
        """The texts."""
        return sample.captions

    def collate(self, rows: Sequence[Any]) -> list[Any]:
        """As they are."""
        return list(rows)


class Regions(Field):
    """Stored regions of the picture, padded to M: `regions` float32 [B, M, D], `region_mask` bool [B, M] (True = a
    region), `region_scores` and `region_areas` float32 [B, M].

    Args:
        data: a mixture whose `regions` are a store of them: `rows(picture_ids)`, `lookup(rows, M)`,
            `meta["max_regions"]`.

    Raises:
        UserError: it has none, or lacks those of a sample.
    """

    def __init__(self, data: Any) -> None:
        self.store = data.regions
        if self.store is None:
            raise UserError("`regions` is missing: the method sees regions; add {provider: ..., store: FOLDER}")
        self.max_regions = int(self.store.meta["max_regions"])
        self.rows = self.store.rows(data.picture_ids)
        if (self.rows < 0).any():
            first = data.picture_ids[int((self.rows < 0).argmax())]
            raise UserError(
                f"{self.store.path}: has no regions of {first}; delete it and run `clipdistill cache` again"
            )

    def row(self, sample: Sample, draw: Draw) -> int:
        """Where the store has them."""
        return int(self.rows[draw.position])

    def collate(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Looked up together."""
        found = self.store.lookup(np.asarray(rows), self.max_regions)
        names = {"regions": "features", "region_mask": "mask", "region_scores": "scores", "region_areas": "areas"}
        return {name: torch.as_tensor(found[key]) for name, key in names.items()}


def encoder_fields(role: str, model: Any, *, images: bool = True, texts: bool = True) -> dict[str, Field]:
    """`image/<role>` and `text/<role>` as a model with its own `preprocess` and `tokenizer` wants them."""
    found: dict[str, Field] = {}
    if images:
        found[f"image/{role}"] = Picture.of(model.preprocess)
    if texts:
        found[f"text/{role}"] = Caption(model.tokenizer)
    return found
