"""Making fusion models with new weights, and finding their tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.models.fusion.config import SHIPPED_WORDPIECE, Attention, FusionConfig, fusion_config
from clipdistill.models.fusion.model import FusionModel
from clipdistill.models.named import PETRI_WORDPIECE

SPECIAL_WORDS = 5


def create_fusion(
    config: str | Mapping[str, Any] | FusionConfig,
    seed: int | None = None,
    *,
    device: str | torch.device = "cpu",
    attention: Attention = "sdpa",
    tokenizer: bool | Path = True,
    **changes: Any,
) -> FusionModel:
    """Make a fusion model with random weights, in evaluation mode.

    Args:
        config: a name of `NAMED`, a .json file with the fields of FusionConfig, the fields, or one.
        seed: makes the weights a function of this number and leaves torch's random state untouched; None draws from it.
        tokenizer: False where only numbers will be fed; the released models' vocabularies may not be on this machine.
            A folder: the one whose files lie there.
        changes: fields to change, such as `region_width=256` or `heads={"vqa": 10}`.

    Raises:
        UserError: no such name or field, sizes that don't fit, or a tokenizer that isn't on this machine.
    """
    sizes = fusion_config(config, **changes)
    if sizes.architecture == "clip_vil":
        raise UserError("fusion model: a CLIP-ViL stands on a CLIP; name it too, such as clip-vil-base:ViT-B-32:openai")
    name = Path(config).stem if isinstance(config, str) else sizes.architecture
    words = open_tokenizer(sizes, tokenizer if isinstance(tokenizer, Path) else None) if tokenizer else None
    with torch.random.fork_rng(devices=[]) if seed is not None else nullcontext():
        if seed is not None:
            torch.manual_seed(seed)
        model = FusionModel(sizes, name=name, tokenizer=words, attention=attention)
    return model.eval().to(device)


def open_tokenizer(config: FusionConfig, folder: Path | None = None) -> Any:
    """The BERT tokenizer of a configuration, or the one whose files lie in a model's `folder`.

    Raises:
        UserError: it can't be found, or has more words than the model.
    """
    from transformers import BertTokenizer

    where = folder or (PETRI_WORDPIECE if config.tokenizer == SHIPPED_WORDPIECE else config.tokenizer)
    try:
        found = BertTokenizer.from_pretrained(where, do_lower_case=config.lower_case)
        if len(found) <= SPECIAL_WORDS:
            raise OSError("no vocabulary")  # what transformers makes, without a word, of a name that it can't find
    except Exception as error:
        raise UserError(
            f"fusion model: the tokenizer '{where}' can't be opened; fetch it with `hf download {config.tokenizer}`, "
            "or give `tokenizer` the folder of a vocab.txt"
        ) from error
    if len(found) > config.vocabulary:
        raise UserError(
            f"fusion model: the tokenizer '{where}' has {len(found)} words and the model {config.vocabulary}; they "
            "don't belong together"
        )
    return found
