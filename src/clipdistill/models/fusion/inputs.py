"""What a fusion model reads and gives: words and regions in, one sequence of both out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class FusionInputs:
    """B pairs of a text and a picture. Padding stands at the end, and what stands in it changes nothing.

    Attributes:
        ids: int64 [B, L], WordPiece numbers, [CLS] first.
        types: int64 [B, L], token types: 0 question or text; VL-BERT 1 answer; UNITER on VCR 2 answer, 3 rationale.
        text_mask: bool [B, L], True = a word.
        features: float [B, M, F], region features as the detector gives them. Region 0 is the whole image
            (`with_whole_image`): VL-BERT needs it, and both give the image token from it.
        boxes: float [B, M, 4], x1 y1 x2 y2 as shares of the picture's width and height.
        region_mask: bool [B, M], True = a region. A text without a picture has none; M may be 0.
        tags: int64 [B, L], the number of the region that a word points to, -1 = none. None = no word points.
        hidden_regions: bool [B, M], regions that are masked for pretraining: their feature isn't shown. None = none.
    """

    ids: Tensor
    types: Tensor
    text_mask: Tensor
    features: Tensor
    boxes: Tensor
    region_mask: Tensor
    tags: Tensor | None = None
    hidden_regions: Tensor | None = None

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> FusionInputs:
        """The same on a device; features and boxes in `dtype`."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        moved = {
            name: value.to(device, dtype if value.is_floating_point() else None)
            for name, value in found.items()
            if value is not None
        }
        return replace(self, **moved)

    def __getitem__(self, rows: Tensor | slice) -> FusionInputs:
        """Some of the pairs."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: value[rows] for name, value in found.items() if value is not None})


@dataclass(frozen=True)
class FusionOutput:
    """What the layers make of the pairs.

    Attributes:
        sequence: [B, S, D], words, then regions, then (VL-BERT) [END]; S = L + M, or L + M + 1.
        mask: bool [B, S], True = not padding.
        pooled: [B, D], tanh(linear(first position)), what classifiers read.
        words: L. regions: M.
        attention: a layer's weights each, [B, heads, S, S], rows summing to 1; None where they weren't asked for.
    """

    sequence: Tensor
    mask: Tensor
    pooled: Tensor
    words: int
    regions: int
    attention: tuple[Tensor, ...] | None = None

    @property
    def cls(self) -> Tensor:
        """The first position's output, [B, D]."""
        return self.sequence[:, 0]

    @property
    def text(self) -> Tensor:
        """The words' outputs, [B, L, D]."""
        return self.sequence[:, : self.words]

    @property
    def objects(self) -> Tensor:
        """The regions' outputs, [B, M, D]."""
        return self.sequence[:, self.words : self.words + self.regions]

    @property
    def image(self) -> Tensor:
        """The image token, [B, D]: region 0's output, which is the whole image's; IndexError without any region."""
        if not self.regions:
            raise IndexError("texts without pictures have no image token")
        return self.sequence[:, self.words]


def with_whole_image(
    features: Tensor, boxes: Tensor, region_mask: Tensor, whole: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Put the whole image before the regions, as region 0.

    Args:
        features [B, M, F], boxes [B, M, 4], region_mask bool [B, M]: as in FusionInputs.
        whole: its feature [B, F]; None = the mean of the regions', as VL-BERT does with features from files.

    Returns:
        features [B, M + 1, F], boxes [B, M + 1, 4], region_mask [B, M + 1].
    """
    if whole is None:
        shown = region_mask[..., None].to(features.dtype)
        whole = (features * shown).sum(1) / shown.sum(1).clamp_min(1)
    box = torch.tensor(WHOLE_IMAGE, dtype=boxes.dtype, device=boxes.device).expand(len(boxes), 1, 4)
    there = region_mask.new_ones(len(boxes), 1)
    return (
        torch.cat([whole[:, None], features], dim=1),
        torch.cat([box, boxes], dim=1),
        torch.cat([there, region_mask], dim=1),
    )
