"""What the authors call each weight, and what it is called here.

UNITER and VILLA: `uniter.` (or `bert.`) before the trunk, heads beside it. VL-BERT: `vlbert.` before it,
`vlbert._module.` after fine-tuning on VCR, heads and region features beside it. `module.` may stand before everything.
BERT: the names of transformers, `bert.` before the trunk or nothing.
"""

from __future__ import annotations

from typing import Literal

from clipdistill.models.fusion.config import Architecture, HeadName

Stage = Literal["pretraining", "vcr", "snli_ve", "vqa"]

STAGE_HEADS: dict[str, dict[Stage, tuple[HeadName, ...]]] = {
    "uniter": {
        "pretraining": ("words", "region_features", "region_classes", "matching"),
        "vcr": ("vcr",), "snli_ve": ("snli_ve",), "vqa": ("vqa",),
    },
    "vl_bert": {
        "pretraining": ("words", "region_classes", "matching"),
        "vcr": ("vcr", "region_classes"), "snli_ve": ("snli_ve",), "vqa": ("vqa",),
    },
    "bert": {"pretraining": ("words",)},
}  # fmt: skip
"""The heads that the authors' model of each stage can have. VL-BERT's `snli_ve` is ours, under VCR's names."""

TRUNK: dict[str, dict[str, str]] = {
    "uniter": {
        "embeddings.words": "uniter.embeddings.word_embeddings",
        "embeddings.positions": "uniter.embeddings.position_embeddings",
        "embeddings.types": "uniter.embeddings.token_type_embeddings",
        "embeddings.text_norm": "uniter.embeddings.LayerNorm",
        "embeddings.feature": "uniter.img_embeddings.img_linear",
        "embeddings.feature_norm": "uniter.img_embeddings.img_layer_norm",
        "embeddings.box": "uniter.img_embeddings.pos_linear",
        "embeddings.box_norm": "uniter.img_embeddings.pos_layer_norm",
        "embeddings.region_norm": "uniter.img_embeddings.LayerNorm",
        "embeddings.masked_feature": "uniter.img_embeddings.mask_embedding.weight",
        "encoder": "uniter.encoder",
        "pooler": "uniter.pooler",
    },
    "vl_bert": {
        "embeddings.words": "vlbert.word_embeddings",
        "embeddings.positions": "vlbert.position_embeddings",
        "embeddings.types": "vlbert.token_type_embeddings",
        "embeddings.norm": "vlbert.embedding_LayerNorm",
        "embeddings.end": "vlbert.end_embedding.weight",
        "embeddings.text_visual": "vlbert.visual_1x1_text",
        "embeddings.object_visual": "vlbert.visual_1x1_object",
        "embeddings.text_visual_norm": "vlbert.visual_ln_text",
        "embeddings.object_visual_norm": "vlbert.visual_ln_object",
        "embeddings.object_word": "object_linguistic_embeddings.weight",
        "embeddings.masked_object_word": "object_mask_word_embedding.weight",
        "embeddings.masked_feature": "object_mask_visual_embedding.weight",
        "embeddings.text_alone": "aux_text_visual_embedding.weight",
        "embeddings.region": "image_feature_extractor.obj_downsample.1",
        "encoder": "vlbert.encoder",
        "pooler": "vlbert.pooler",
    },
    "bert": {
        "embeddings.words": "bert.embeddings.word_embeddings",
        "embeddings.positions": "bert.embeddings.position_embeddings",
        "embeddings.types": "bert.embeddings.token_type_embeddings",
        "embeddings.text_norm": "bert.embeddings.LayerNorm",
        "encoder": "bert.encoder",
        "pooler": "bert.pooler",
    },
}
"""Ours -> the authors', by whole names or their beginnings (up to a dot)."""

_WORDS = {"hidden": "transform.dense", "norm": "transform.LayerNorm", "bias": "bias"}
_TWO_LAYERS = {"hidden": "0", "norm": "2", "out": "3"}
_FROM_MASK = {"hidden": "0.dense", "norm": "0.LayerNorm", "out": "2"}

HEADS: dict[str, dict[Stage, dict[HeadName, tuple[str, dict[str, str]]]]] = {
    "uniter": {
        "pretraining": {
            "words": ("cls.predictions", _WORDS),
            "region_features": ("feat_regress", {"hidden": "net.0", "norm": "net.2", "bias": "bias"}),
            "region_classes": ("region_classifier.net", _TWO_LAYERS),
            "matching": ("itm_output", {"out": ""}),
        },
        "vcr": {"vcr": ("vcr_output", _TWO_LAYERS)},
        "snli_ve": {"snli_ve": ("vqa_output", _TWO_LAYERS)},
        "vqa": {"vqa": ("vqa_output", _TWO_LAYERS)},
    },
    "vl_bert": {
        "pretraining": {
            "words": ("vlbert.mlm_head.predictions", _WORDS),
            "region_classes": ("vlbert.mvrc_head", {"hidden": "transform.dense", "out": "region_cls_pred"}),
            "matching": ("vlbert.relationsip_head", {"out": "caption_image_relationship"}),
        },
        "vcr": {
            "vcr": ("final_mlp", {"out": "1"}),
            "region_classes": ("cnn_loss_reg", {"hidden": "0.dense", "out": "2"}),
        },
        "snli_ve": {"snli_ve": ("final_mlp", {"out": "1"})},
        "vqa": {"vqa": ("final_mlp", _FROM_MASK)},
    },
    "bert": {"pretraining": {"words": ("cls.predictions", _WORDS)}},
}
"""A stage's heads -> where the authors keep them, and their parts: ours -> theirs."""

TIED: dict[str, dict[HeadName, tuple[str, str]]] = {
    "uniter": {
        "words": ("cls.predictions.decoder.weight", "embeddings.words.weight"),
        "region_features": ("feat_regress.weight", "embeddings.feature.weight"),
    },
    "vl_bert": {"words": ("vlbert.mlm_head.predictions.decoder.weight", "embeddings.words.weight")},
    "bert": {"words": ("cls.predictions.decoder.weight", "embeddings.words.weight")},
}
"""Weights that the authors' files hold twice: the head's name for it, and ours of the part that it belongs to."""

NOT_OURS: dict[str, tuple[str, ...]] = {
    "uniter": (),
    # Next sentences, the bias a second time, and a buffer of 0, 1, 2, ...
    "bert": ("cls.seq_relationship.", "cls.predictions.decoder.bias", "bert.embeddings.position_ids"),
    "vl_bert": tuple(
        f"image_feature_extractor.{part}."
        for part in ("backbone", "roi_head_feature_extractor", "head", "regularizing_predictor", "object_embed")
    ),
}
"""VL-BERT's detector, which its end-to-end files hold too: here region features come from outside; BERT's buffers."""

MAY_LACK: dict[str, tuple[str, ...]] = {
    "uniter": ("embeddings.tag_norm.", "embeddings.standard.", "embeddings.standard_box."),  # ours
    # Pretrained without a pooler; the vectors of masked regions and of lone texts are only in (some) pretraining files.
    "vl_bert": (
        "pooler.",
        "embeddings.masked_feature",
        "embeddings.masked_object_word",
        "embeddings.text_alone",
        "embeddings.standard.",
    ),
    "bert": ("pooler.",),  # BertForMaskedLM has none
}
"""What the authors' files of some stages don't hold; it keeps its start."""


def names_of(architecture: Architecture, stage: Stage) -> dict[str, str]:
    """Ours -> the authors' names, trunk and heads of a stage, by beginnings."""
    found = dict(TRUNK[architecture])
    for head, (place, parts) in HEADS[architecture][stage].items():
        found.update({f"heads.{head}.{ours}": f"{place}.{theirs}".rstrip(".") for ours, theirs in parts.items()})
    return found


def renamed(key: str, table: dict[str, str]) -> str | None:
    """`key` with the beginning that `table` knows exchanged; None when it knows none."""
    for old, new in table.items():
        if key == old or key.startswith(f"{old}."):
            return new + key[len(old) :]
    return None
