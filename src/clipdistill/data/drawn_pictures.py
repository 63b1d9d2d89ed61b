"""What pretraining draws of pictures and of pairs, for models that see regions, pictures, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clipdistill.data.fields import Draw, Field
from clipdistill.data.fusion_fields import Coded, picture_fields
from clipdistill.data.masked_fields import DrawnRegions, chosen, dice_of
from clipdistill.data.question_texts import TrueText
from clipdistill.data.sample import Sample
from clipdistill.data.true_texts import TrueTexts


class HiddenCells(Field):
    """`hidden_regions` bool [B, M]: which cells of the picture's grid are masked, at least one.

    Args:
        cells: M.
    """

    def __init__(self, cells: int) -> None:
        self.cells = cells

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HiddenCells) and self.cells == other.cells

    __hash__ = None  # type: ignore[assignment]

    def row(self, sample: Sample, draw: Draw) -> np.ndarray:
        """bool [M]."""
        hidden = np.zeros(self.cells, bool)
        hidden[chosen(dice_of(draw, "regions", sample), range(self.cells))] = True
        return hidden


class OtherTexts(TrueTexts):
    """`TrueTexts`, half of the times those of another sample of the data, with `is_own` int64 [B], 1 = the own text.

    Words point nowhere, in either: where they point would tell which it is.

    Args:
        data: where other texts come from.
    """

    def __init__(self, model: Any, reads: TrueText, name: str, data: Any, max_tokens: int | None = None) -> None:
        super().__init__(model, reads, name, max_tokens)
        self.data = data

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and isinstance(other, OtherTexts) and self.data is other.data

    __hash__ = None  # type: ignore[assignment]

    def row(self, sample: Sample, draw: Draw) -> tuple[Coded, int]:
        """A text's tokens, and whether it is the sample's."""
        dice, count = dice_of(draw, "texts", sample), len(self.data)
        texts, wrong = self.drawn(sample, draw), count > 1 and dice.random() < 0.5
        if wrong:
            found = self.texts(self.data[(draw.position + int(dice.integers(1, count))) % count])
            texts = found[int(dice.integers(len(found)))]
        ids, types, _ = self._coded(texts)
        return (ids, types, [-1] * len(ids)), int(not wrong)

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Padded to the longest."""
        return {**super().collate([coded for coded, _ in rows]), "is_own": torch.tensor([own for _, own in rows])}


def drawn_fields(
    model: Any, data: Any, reads: TrueText, *, others: bool, classes: bool, max_tokens: int | None = None
) -> dict[str, Field]:
    """What a batch holds of pictures: which of its regions are masked, and with `others` pairs that don't match.

    Of models that see regions another sample's picture, in `other/...` (UNITER); of models that read pictures another
    sample's text, in `matched/...` (LXMERT, and so CLIP-ViL): a second picture would have to be read for each sample.

    Args:
        classes: what masked regions are, too; cells of a grid have none.

    Raises:
        UserError: the data has no regions.
    """
    if model.sees == "nothing":
        return {}
    if model.sees == "regions":
        return {"regions": DrawnRegions(data, model.region_width, others, classes)}
    found = {**picture_fields(model, data), "hidden_regions": HiddenCells(model.grid**2)}
    if others:
        found["matched"] = OtherTexts(model, reads, "matched", data, max_tokens)
    return found
