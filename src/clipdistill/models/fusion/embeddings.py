"""Words and regions as one sequence of vectors: UNITER's way and VL-BERT's."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from clipdistill.models.fusion.config import FusionConfig
from clipdistill.models.fusion.inputs import FusionInputs

EPS = 1e-12
"""Of every LayerNorm, as in BERT."""


class Embeddings(Protocol):
    """`forward(inputs, word_shift, region_shift)` -> sequence [B, S, D] and mask bool [B, S], before the layers.

    word_shift [B, L, D] is added to the word embeddings before position, type and LayerNorm; region_shift [B, M, F]
    to the raw region features. VILLA learns against both; None = nothing.
    """

    def __call__(
        self, inputs: FusionInputs, word_shift: Tensor | None = None, region_shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]: ...


class WordEmbeddings(nn.Module):
    """BERT's: LN(word + position + type). What regions there are isn't seen; `region_shift` shifts nothing."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width = config.width
        self.words = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Embedding(config.positions, width)
        self.types = nn.Embedding(config.types, width)
        self.text_norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, spread: float) -> None:
        """Nothing but layers and embedding tables."""

    def forward(
        self, inputs: FusionInputs, word_shift: Tensor | None = None, region_shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Embeddings`."""
        del region_shift
        words = shifted(self.words(inputs.ids), word_shift)
        return self.dropout(self.placed(words, inputs)), inputs.text_mask

    def placed(self, words: Tensor, inputs: FusionInputs) -> Tensor:
        """Words [B, L, D] with their positions and types, through the LayerNorm."""
        found: Tensor = self.text_norm(
            words + self.positions(word_positions(inputs.text_mask)) + self.types(inputs.types)
        )
        return found


class Standardised(nn.Module):
    """(features - mean) / scale, channel by channel; as they are until `fit` has seen some."""

    mean: Tensor
    scale: Tensor
    fitted: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def fit(self, features: Tensor) -> None:
        """Take mean and deviation of features [n, F], once; of a channel that hardly varies a tenth of the usual."""
        if bool(self.fitted):
            return
        mean, scale = features.mean(dim=0), features.std(dim=0, correction=0)
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp_min(max(0.1 * float(scale.median()), EPS)))
        self.fitted.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        """[..., F] -> [..., F]."""
        found: Tensor = (features - self.mean.to(features.dtype)) / self.scale.to(features.dtype)
        return found


class UniterEmbeddings(WordEmbeddings):
    """UNITER (2020), section 3.1, as its code has it.

    A word: LN(word + position + type). A region: LN(LN(linear(feature)) + LN(linear(box)) + type 1), where a box is x1
    y1 x2 y2 w h and w * h, all as shares; regions have no position. Of masked regions the feature is zero plus a learnt
    vector. With `tags` (ours) a word that points to a region adds LN(LN(linear(feature)) + LN(linear(box))) of it, the
    outer LayerNorm its own: feature and box, as VL-BERT's words have both.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__(config)
        width = config.width
        self.standard = Standardised(config.region_width) if config.standardised else None
        self.standard_box = Standardised(7) if config.standardised else None
        self.feature, self.box = nn.Linear(config.region_width, width), nn.Linear(7, width)
        self.feature_norm, self.box_norm = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.tag_norm = nn.LayerNorm(width, eps=EPS) if config.tags else None
        self.visual_scale = config.visual_scale
        self.masked_feature = nn.Parameter(torch.empty(config.region_width))
        self.region_norm = nn.LayerNorm(width, eps=EPS)

    def start(self, spread: float) -> None:
        """Draw what is neither a layer nor an embedding table."""
        nn.init.normal_(self.masked_feature, std=spread)
        if self.tag_norm is not None:
            nn.init.constant_(self.tag_norm.weight, self.visual_scale)

    def forward(
        self, inputs: FusionInputs, word_shift: Tensor | None = None, region_shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Embeddings`."""
        shown = inputs.features if self.standard is None else self.standard(inputs.features)
        features = shifted(hide(shown, inputs.hidden_regions, self.masked_feature), region_shift)
        projected = self.feature(features)
        boxes = seven_numbers(inputs.boxes)
        boxes = boxes if self.standard_box is None else self.standard_box(boxes)
        seen = self.feature_norm(projected) + self.box_norm(self.box(boxes))
        words = shifted(self.words(inputs.ids), word_shift)
        if self.tag_norm is not None and inputs.tags is not None:
            words = words + pointed(self.tag_norm(seen), inputs.tags) * (inputs.tags >= 0)[..., None]
        text = self.placed(words, inputs)
        regions = self.region_norm(seen + self.types.weight[1])
        sequence = torch.cat([self.dropout(text), self.dropout(regions)], dim=1)
        return sequence, torch.cat([inputs.text_mask, inputs.region_mask], dim=1)


class VLBertEmbeddings(nn.Module):
    """VL-BERT (2020), section 3.2, as its code has it.

    Every region is represented by relu(linear(sines and cosines of its box, its feature)). A word carries the
    representation of the region that it points to, or the whole image's; an object carries its own, beside one shared
    "word"; both through a LayerNorm of their own. [END] comes last. Positions: words 0, 1, ...; all objects the next
    one, [END] the one after. Types: the words' own; objects and [END] 2. The sum goes through a LayerNorm. The words of
    a text without any picture (the text-only part of pretraining) carry one learnt vector.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width, visual = config.width, config.visual
        self.coordinates, self.untagged, self.visual_scale = config.coordinates, config.untagged, config.visual_scale
        self.words = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Embedding(config.positions, width)
        self.types = nn.Embedding(config.types, width)
        self.end = nn.Parameter(torch.empty(1, width))
        self.object_word = nn.Parameter(torch.empty(1, width))
        self.masked_object_word = nn.Parameter(torch.empty(1, width))
        self.masked_feature = nn.Parameter(torch.empty(1, config.region_width))
        self.text_alone = nn.Parameter(torch.empty(1, visual))
        self.standard = Standardised(config.region_width) if config.standardised else None
        self.region = nn.Linear(8 * config.coordinates + config.region_width, visual)
        self.region_dropout = nn.Dropout(config.dropout)
        self.text_visual: nn.Module = nn.Identity() if visual == width else nn.Linear(visual, width)
        self.object_visual: nn.Module = nn.Identity() if visual == width else nn.Linear(visual, width)
        self.text_visual_norm, self.object_visual_norm = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, spread: float) -> None:
        """Draw what is neither a layer nor an embedding table, and set the norms on visual features."""
        for vector in (self.end, self.object_word, self.masked_object_word, self.text_alone):
            nn.init.normal_(vector, std=spread)
        nn.init.zeros_(self.masked_feature)
        for norm in (self.text_visual_norm, self.object_visual_norm):
            nn.init.constant_(norm.weight, self.visual_scale)

    def forward(
        self, inputs: FusionInputs, word_shift: Tensor | None = None, region_shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Embeddings`."""
        features = inputs.features if self.standard is None else self.standard(inputs.features)
        if inputs.hidden_regions is not None:
            features = torch.where(inputs.hidden_regions[..., None], self.masked_feature[0], features)
        boxes = waves(inputs.boxes, self.coordinates)
        represented = torch.cat([boxes, shifted(features, region_shift)], dim=-1)
        represented = relu(self.region(self.region_dropout(represented)))
        said = shifted(self.words(inputs.ids), word_shift) + self._seen(represented, inputs)
        named: Tensor = self.object_word
        if inputs.hidden_regions is not None:
            named = torch.where(inputs.hidden_regions[..., None], self.masked_object_word, named)
        objects = named + self.object_visual_norm(self.object_visual(represented))
        count = len(inputs.ids)
        end = self.end.expand(count, 1, -1)
        length = inputs.text_mask.sum(dim=1, keepdim=True)
        places = torch.cat(
            [word_positions(inputs.text_mask), length.expand(count, objects.shape[1]), length + 1], dim=1
        )
        types = torch.cat([inputs.types, torch.full_like(places[:, inputs.types.shape[1] :], 2)], dim=1)
        whole = torch.cat([said, objects, end], dim=1) + self.positions(places) + self.types(types)
        there = inputs.text_mask.new_ones(count, 1)
        return self.dropout(self.norm(whole)), torch.cat([inputs.text_mask, inputs.region_mask, there], dim=1)

    def _seen(self, represented: Tensor, inputs: FusionInputs) -> Tensor:
        """The visual part of each word, [B, L, D]."""
        tags = torch.full_like(inputs.ids, -1) if inputs.tags is None else inputs.tags
        alone = ~inputs.region_mask.any(dim=1)[:, None, None]
        # Without a single region there is nothing to point to, and no row to take.
        shown = pointed(represented, tags) if represented.shape[1] else self.text_alone
        seen: Tensor = self.text_visual_norm(self.text_visual(torch.where(alone, self.text_alone, shown)))
        return seen * (tags >= 0)[..., None] if self.untagged == "nothing" else seen


def shifted(values: Tensor, shift: Tensor | None) -> Tensor:
    """`values`, moved by `shift` where there is one."""
    return values if shift is None else values + shift


def hide(features: Tensor, hidden: Tensor | None, vector: Tensor) -> Tensor:
    """`features` [B, M, F] with `vector` [F] in place of those where `hidden` bool [B, M] is true."""
    return features if hidden is None else torch.where(hidden[..., None], vector, features)


def pointed(regions: Tensor, tags: Tensor) -> Tensor:
    """What each word points to: regions [B, M, C], tags int64 [B, L] -> [B, L, C]; -1 gives region 0."""
    return regions.gather(1, tags.clamp_min(0)[..., None].expand(-1, -1, regions.shape[-1]))


def word_positions(mask: Tensor) -> Tensor:
    """0, 1, 2, ... along the words of `mask` bool [B, L]; padding repeats the last."""
    return (mask.cumsum(dim=1) - 1).clamp_min(0)


def seven_numbers(boxes: Tensor) -> Tensor:
    """Boxes [B, M, 4] -> [B, M, 7]: x1 y1 x2 y2 w h and w * h (UNITER, section 3.1)."""
    size = boxes[..., 2:] - boxes[..., :2]
    return torch.cat([boxes, size, size[..., :1] * size[..., 1:]], dim=-1)


def waves(boxes: Tensor, count: int) -> Tensor:
    """Boxes [B, M, 4] -> [B, M, 8 * count]: for centre x, centre y, width, height `count` sines, then as many cosines.

    The share of the picture times 100, divided by 1000^(k / count) (VL-BERT, section 3.2, as its code has it).
    """
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    rate = 1000 ** (torch.arange(count, dtype=boxes.dtype, device=boxes.device) / count)
    angle = torch.cat([middle, size], dim=-1)[..., None] * 100 / rate
    return torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(-2)
