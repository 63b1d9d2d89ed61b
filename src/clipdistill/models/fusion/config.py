"""The sizes of a fusion model, and configurations by name: the released ones and petri-sized ones."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clipdistill.errors import UserError, explain, nearest

Architecture = Literal["uniter", "vl_bert", "bert", "clip_vil"]
Attention = Literal["eager", "sdpa"]
HeadName = Literal["vcr", "snli_ve", "vqa", "words", "region_features", "region_classes", "matching", "exchanged"]
SHIPPED_WORDPIECE = "clipdistill:petri_wordpiece"
"""In a configuration: the WordPiece vocabulary of the petri world's words, which comes with the package."""
TAG_WORDS = 81
"""UNITER's words for VCR's object tags: 80 classes and one for what has none."""


class FusionConfig(BaseModel):
    """What decides the shapes of a fusion model and how it starts. VILLA has UNITER's.

    `bert` is a language model: it sees no picture, and is the control for what pictures give. Its heads are UNITER's,
    its token types BERT's own two. `clip_vil` is UNITER's over the grid of an image tower (`clip_vil.py`).
    """

    model_config = ConfigDict(extra="forbid")

    architecture: Architecture
    vocabulary: int = Field(ge=5)
    width: int = Field(768, ge=2)
    layers: int = Field(12, ge=1)
    attention_heads: int = Field(12, ge=1)
    hidden: int = Field(3072, ge=1)
    """Width inside a layer's feed-forward part."""
    positions: int = Field(512, ge=4)
    types: int = Field(2, ge=2)
    """Rows of the token types. UNITER: 0 text, 1 regions; for VCR also 2 answer, 3 rationale. VL-BERT: 3."""
    region_width: int = Field(2048, ge=1)
    """Numbers in a region's feature, as the detector gives them."""
    standardised: bool = False
    """Ours: features (UNITER: and boxes) are centred and scaled, channel by channel, by what the first training data
    has. What a detector's layers give lies around a common vector, which a small model takes long to look past."""
    coordinates: int = Field(256, ge=1)
    """VL-BERT: sines (and as many cosines) for each of a box's four numbers."""
    visual_width: int | None = None
    """VL-BERT: width of a region's representation; None = `width`, as in every released model."""
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    spread: float = Field(0.02, gt=0)
    """Standard deviation of new weights."""
    visual_scale: float = Field(0.0, ge=0)
    """What the LayerNorms on visual features that words carry start with (VL-BERT: on objects' too). 0 in VL-BERT's
    released configurations, where training brings the pictures in; `spread` makes them as long as a word's embedding
    from the start."""
    tags: bool = False
    """UNITER, CLIP-ViL: a word that points to a region carries the region's feature and box, through a LayerNorm of its
    own. Ours: the authors' words carry nothing. VL-BERT's always do."""
    untagged: Literal["whole_image", "nothing"] = "whole_image"
    """VL-BERT: the visual feature of words that point to no region; `whole_image` is the authors'."""
    heads: dict[HeadName, int] = {}
    """What it answers with -> how many numbers a head gives (words, region features: what the vocabulary and the
    regions have, whatever stands here)."""
    lower_case: bool = True
    tokenizer: str = SHIPPED_WORDPIECE
    """A hub name, a folder, or `clipdistill:petri_wordpiece`."""

    @model_validator(mode="after")
    def _fits(self) -> FusionConfig:
        if self.width % self.attention_heads:
            raise ValueError(f"`attention_heads`: {self.attention_heads} don't share a width of {self.width}")
        if self.architecture == "vl_bert" and self.types < 3:
            raise ValueError("`types`: VL-BERT has 3 (question, answer, objects)")
        return self

    @property
    def visual(self) -> int:
        """Width of VL-BERT's region representations."""
        return self.visual_width or self.width


_LARGE = {"width": 1024, "layers": 24, "attention_heads": 16, "hidden": 4096}
_UNITER = {"architecture": "uniter", "vocabulary": 28996, "lower_case": False, "tokenizer": "bert-base-cased"}
_UNITER_LARGE = {**_UNITER, **_LARGE, "tokenizer": "bert-large-cased"}
_VL_BERT = {"architecture": "vl_bert", "vocabulary": 30522, "types": 3, "tokenizer": "bert-base-uncased"}
_VL_BERT_LARGE = {**_VL_BERT, **_LARGE, "tokenizer": "bert-large-uncased"}
_BERT = {**_UNITER, "architecture": "bert", "heads": {"words": 0}}
_PRETRAINING = {"heads": {"words": 0, "region_features": 0, "region_classes": 1601, "matching": 2}}
_VCR = {"vocabulary": 28996 + TAG_WORDS, "types": 4, "heads": {"vcr": 2}}
# Wide enough to learn, small enough for two cores; `vocabulary` is that of the shipped words, `region_width` that of a
# map of petri-teacher-small. BERT's spread of 0.02 is made for 768 channels: a twelfth of them need sqrt(12) times as
# much for layers of the same strength. With BERT's dropout, 64 channels don't learn to hold a word against a region
# (docs/results.md).
_PETRI = {
    "vocabulary": 312, "width": 64, "layers": 2, "attention_heads": 4, "hidden": 256, "positions": 96,
    "region_width": 576, "spread": 0.08, "dropout": 0.0, "attention_dropout": 0.0,
    "standardised": True,
}  # fmt: skip

NAMED: dict[str, dict[str, Any]] = {
    "uniter-base": {**_UNITER, **_PRETRAINING},
    "uniter-large": {**_UNITER_LARGE, **_PRETRAINING},
    "uniter-base-vcr": {**_UNITER, **_VCR},
    "uniter-large-vcr": {**_UNITER_LARGE, **_VCR},
    "uniter-base-vqa": {**_UNITER, "heads": {"vqa": 3129}},
    "uniter-large-vqa": {**_UNITER_LARGE, "heads": {"vqa": 3129}},
    "uniter-base-snli-ve": {**_UNITER, "heads": {"snli_ve": 3}},
    "uniter-large-snli-ve": {**_UNITER_LARGE, "heads": {"snli_ve": 3}},
    "vl-bert-base": {**_VL_BERT, "heads": {"words": 0, "region_classes": 1601}},
    "vl-bert-large": {**_VL_BERT_LARGE, "heads": {"words": 0, "region_classes": 1601}},
    "vl-bert-base-vcr": {**_VL_BERT, "heads": {"vcr": 1, "region_classes": 81}},
    "vl-bert-large-vcr": {**_VL_BERT_LARGE, "heads": {"vcr": 1, "region_classes": 81}},
    "vl-bert-base-vqa": {**_VL_BERT, "heads": {"vqa": 3129}},
    "vl-bert-large-vqa": {**_VL_BERT_LARGE, "heads": {"vqa": 3129}},
    "bert-base": _BERT,
    "bert-large": {**_BERT, **_LARGE, "tokenizer": "bert-large-cased"},
    "petri-uniter": {**_PETRI, "architecture": "uniter", "types": 4},
    "petri-uniter-tags": {**_PETRI, "architecture": "uniter", "types": 4, "tags": True, "visual_scale": 0.08},
    "petri-vl-bert": {**_PETRI, "architecture": "vl_bert", "types": 3, "coordinates": 16, "visual_scale": 0.08},
    "petri-bert": {**_PETRI, "architecture": "bert"},
}
"""Configurations by name: what differs from FusionConfig's defaults. VILLA's checkpoints fit UNITER's."""

_CLIP_VIL = {**_UNITER, "architecture": "clip_vil", "types": 4, "tags": True, "visual_scale": 0.02}
CLIP_VIL: dict[str, dict[str, Any]] = {
    "clip-vil-base": _CLIP_VIL,
    "clip-vil-large": {**_CLIP_VIL, **_LARGE, "tokenizer": "bert-large-cased"},
    "petri-clip-vil": {**_PETRI, "architecture": "clip_vil", "types": 4, "tags": True, "visual_scale": 0.08},
}
"""Those that stand on a CLIP's image tower: a recipe writes `clip-vil-base:MODEL`, MODEL being any name of a CLIP."""
ALL: Mapping[str, dict[str, Any]] = ChainMap(NAMED, CLIP_VIL)


def architecture_of(name: str) -> str | None:
    """The architecture of a configuration, one of `NAMED` or `CLIP_VIL` or a JSON file; None when it is none."""
    if name in ALL:
        return str(ALL[name]["architecture"])
    try:
        found = json.loads(Path(name).read_text(encoding="utf-8")) if name.endswith(".json") else None
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("architecture") not in get_args(Architecture):
        return None
    return str(found["architecture"])


def is_config(name: str) -> bool:
    """Whether a name stands for a configuration that is a model by itself, and not on a CLIP."""
    return architecture_of(name) not in (None, "clip_vil")


def fusion_config(config: str | Mapping[str, Any] | FusionConfig, **changes: Any) -> FusionConfig:
    """The configuration of a name (`NAMED`, `CLIP_VIL`), of a JSON file, or of its fields, with changes.

    Raises:
        UserError: no such name or field, or sizes that don't fit one another.
    """
    if isinstance(config, str) and architecture_of(config) is None:
        raise UserError(
            f"fusion model '{config}': no such name.{nearest(config, ALL)} Names: {', '.join(ALL)}; or a .json "
            "file with the fields of one"
        )
    if isinstance(config, FusionConfig):
        fields: Mapping[str, Any] = config.model_dump()
    elif isinstance(config, str):
        fields = ALL[config] if config in ALL else json.loads(Path(config).read_text(encoding="utf-8"))
    else:
        fields = config
    try:
        return FusionConfig.model_validate({**fields, **changes})
    except ValidationError as error:
        raise UserError(f"fusion model{_whose(config)}: {explain(error, FusionConfig)}") from error


def _whose(config: Any) -> str:
    return f" '{config}'" if isinstance(config, str) else ""
