"""What fusion models are pretrained on: texts with masked words, masked regions, pictures that may be wrong ones.

What is drawn is a function of seed, epoch and sample: the same in whatever batch, micro-batch or process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from clipdistill.data.draws import integer
from clipdistill.data.fields import Draw
from clipdistill.data.fusion_fields import Coded, FusionRegions, FusionTexts
from clipdistill.data.sample import Sample
from clipdistill.data.tagged_text import TaggedText
from clipdistill.errors import UserError

TrueText = Literal["answers", "rationales", "question", "hypothesis"]
LABELS = {"answers": "answer_label", "rationales": "rationale_label"}
SHARE = 0.15
"""Of words, and of regions, that are masked; at least one of each sample's."""


class TrueTexts(FusionTexts):
    """The right one of the texts, `NAME/...` of [B, L]: the question with its answer, or with answer and rationale."""

    def __init__(self, model: Any, reads: TrueText, name: str, max_tokens: int | None = None) -> None:
        super().__init__(model, reads, name, max_tokens)
        self.options = 0
        if self.layout is None:
            raise UserError(f"`student.model`: '{model.name}' has no words that could be masked; name a fusion model")

    def texts(self, sample: Sample) -> list[dict[str, TaggedText]]:
        """One; UserError where the right one isn't known."""
        found = super().texts(sample)
        label = LABELS.get(self.reads)
        if label is None:
            return found
        if sample.fields.get(label) is None:
            raise UserError(f"'{sample.id}' has no '{label}', so its text isn't known; set `task.reads` to question")
        return [found[int(sample.fields[label])]]


class MaskedTexts(TrueTexts):
    """`TrueTexts` with masked words, and `NAME/wanted` int64 [B, L]: the number of each masked word, -1 elsewhere.

    Of the chosen words 80 % become [MASK], 10 % another word, 10 % stay, as in BERT. Marks aren't chosen.
    """

    def row(self, sample: Sample, draw: Draw) -> tuple[Coded, list[int]]:
        """A text's tokens and what stood there."""
        ((ids, types, tags),) = super().row(sample, draw)
        dice = _dice(draw, "words", sample)
        marks = set(self.tokenizer.all_special_ids)
        free = [place for place, number in enumerate(ids) if number not in marks]
        wanted = [-1] * len(ids)
        first, last = self.tokenizer.convert_tokens_to_ids("!"), len(self.tokenizer)
        for place in _chosen(dice, free):
            wanted[place], lot = ids[place], dice.random()
            if lot < 0.8:
                ids[place] = self.tokenizer.mask_token_id
            elif lot < 0.9:
                ids[place] = int(dice.integers(first, last))
        return (ids, types, tags), wanted

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Padded to the longest."""
        found = super().collate([[coded] for coded, _ in rows])
        wanted = torch.full_like(found[f"{self.name}/ids"], -1)
        for place, (_, row) in enumerate(rows):
            wanted[place, : len(row)] = torch.tensor(row)
        return {**found, f"{self.name}/wanted": wanted}


class DrawnRegions(FusionRegions):
    """The picture's regions, and what is drawn for them.

    Adds `hidden_regions` bool [B, M], the masked ones; and of another picture of the data, or half of the times of the
    own one, `other/...`: what `FusionRegions` gives, no object shown, with `is_own` int64 [B], 1 = the own picture.
    """

    def row(self, sample: Sample, draw: Draw) -> Any:
        """Where the store has both, and the choices."""
        own, dice = super().row(sample, draw), _dice(draw, "regions", sample)
        other = int(self.rows[draw.position])
        wrong = len(self.rows) > 1 and dice.random() < 0.5
        if wrong:  # any other sample's: a question about the same picture may come up, as rarely as pictures repeat
            step = int(dice.integers(1, len(self.rows)))
            other = int(self.rows[(draw.position + step) % len(self.rows)])
        return own, other, int(not wrong), int(dice.integers(2**31))

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Looked up together."""
        found = super().collate([own for own, *_ in rows])
        other = super().collate([(row, boxes) for (_, boxes), row, _, _ in rows])
        # Words point nowhere, in either picture: where they point would tell which one it is.
        other["object_regions"] = torch.full_like(other["object_regions"], -1)
        hidden = torch.zeros_like(found["region_mask"])
        for place, (*_, seed) in enumerate(rows):
            dice = np.random.Generator(np.random.PCG64(seed))
            there = found["region_mask"][place].nonzero().flatten().tolist()
            hidden[place, _chosen(dice, there)] = True
        return {
            **found, **{f"other/{name}": value for name, value in other.items()}, "hidden_regions": hidden,
            "is_own": torch.tensor([same for _, _, same, _ in rows]),
        }  # fmt: skip


def _dice(draw: Draw, what: str, sample: Sample) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(integer(2**63, draw.seed, "masking", what, draw.epoch, sample.id)))


def _chosen(dice: np.random.Generator, places: Sequence[int]) -> list[int]:
    """About a share of `places`, and one at least."""
    lots = dice.random(len(places))
    chosen = [place for place, lot in zip(places, lots, strict=True) if lot < SHARE]
    return chosen or [places[int(np.argmin(lots))]] if places else []
