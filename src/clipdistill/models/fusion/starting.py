"""Fusion models as training starts with them: from a BERT, and on a CLIP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from clipdistill.errors import UserError
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.fusion.adapter_config import ADAPTERS
from clipdistill.models.fusion.base import FusionBase
from clipdistill.models.fusion.clip_adapter import create_adapter
from clipdistill.models.fusion.clip_vil import create_clip_vil
from clipdistill.models.fusion.config import TAG_WORDS, FusionConfig, architecture_of, fusion_config, is_config
from clipdistill.models.fusion.filling import fill, fill_from_bert
from clipdistill.models.fusion.model import FusionModel
from clipdistill.models.fusion.released import from_released, read_released, released_config, rows
from clipdistill.models.hub import hub_folder


def on_clip(name: str) -> bool:
    """Whether a name stands before a CLIP's: an adapter's or a CLIP-ViL's."""
    return name in ADAPTERS or architecture_of(name) == "clip_vil"


def split_name(name: str) -> tuple[str, str | None]:
    """`uniter-base-vcr:/path/uniter-base.pt` -> the name and the checkpoint; a name alone -> the name and None.

    `clip-mlp-1-concat:ViT-B-32:openai` -> the adapter's (or CLIP-ViL's) name and the CLIP's.
    """
    head, colon, tail = name.partition(":")
    return (head, tail) if colon and (is_config(head) or on_clip(head)) else (name, None)


def start_on_clip(name: str, clip: DualEncoder, seed: int, bert: str = "") -> FusionBase:
    """An adapter or a CLIP-ViL with new weights on a CLIP.

    Args:
        bert: what a CLIP-ViL starts from otherwise, see `start_from_bert`; empty = new weights there too.

    Raises:
        UserError: an adapter has nothing that a BERT could fill.
    """
    if name in ADAPTERS:
        if bert:
            raise UserError(f"model '{name}': an adapter has no words that could start from '{bert}'; leave it out")
        return create_adapter(name, clip, seed)
    if not bert:
        return create_clip_vil(name, clip, seed)

    def make(config: FusionConfig, folder: Path) -> FusionModel:
        return create_clip_vil(config.model_dump(exclude={"region_width"}), clip, seed, tokenizer=folder)

    model = start_from_bert(name, bert, make)
    model.name = f"{model.name}:{clip.name}"
    return model


def start_from_bert(name: str, where: str, make: Callable[[FusionConfig, Path], FusionModel]) -> FusionModel:
    """A model that starts from a BERT in a folder as transformers writes it, with the words of that folder, or is one.

    Args:
        name: of a configuration. where: the folder, or a name on the hub.
        make: makes it, of the configuration with that folder's words and of the folder that has them.

    Raises:
        UserError: no BERT there, or one that doesn't fit.
    """
    folder = Path(where) if Path(where).is_dir() else hub_folder(where)
    files = [folder / file for file in ("model.safetensors", "pytorch_model.bin") if (folder / file).is_file()]
    if not files:
        raise UserError(f"{folder}: holds neither model.safetensors nor pytorch_model.bin; give a BERT's folder")
    found = from_released(read_released(files[0]), str(files[0]))
    own = fusion_config(name)
    try:
        lower = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("do_lower_case", True)
    except (OSError, ValueError):
        lower = own.lower_case
    theirs = rows(found.state, "embeddings.words.weight")
    # VCR's object tags are further words, where the model has them; else it has what the folder has.
    tags = TAG_WORDS if own.vocabulary == theirs + TAG_WORDS else 0
    config = fusion_config(name, vocabulary=theirs + tags, lower_case=bool(lower))
    model = make(config, folder)
    model.name = Path(name).stem
    if config.architecture == "bert" and config.layers == released_config(found, str(files[0])).layers:
        fill(model, found, str(files[0]))
    else:
        fill_from_bert(model, found, str(files[0]))
    return model
