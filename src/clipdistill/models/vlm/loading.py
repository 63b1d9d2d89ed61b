"""VLMs by name: put together from parts, or opened from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.models.loading import create_model, load_model
from clipdistill.models.named import WEIGHTS_FOLDER, list_models
from clipdistill.models.quiet import quiet
from clipdistill.models.vlm.creating import create_vlm
from clipdistill.models.vlm.model import VLM
from clipdistill.models.vlm_names import ABOUT, BLIND, RANDOM, VLMName, is_put_together, vlm_folder


def start_vlm(text: str, seed: int | None = None) -> VLM:
    """Put a VLM together by name, see `vlm_names.VLMName`.

    Raises:
        UserError: a part is missing, or can't be opened.
    """
    name = VLMName.read(text)
    encoder = tower_encoder(text, seed)
    return create_vlm(encoder, name.language_model, name=text, seed=seed, drop_first=name.drop_first)


def tower_encoder(text: str, seed: int | None = None) -> Any | None:
    """The dual encoder whose image tower a VLM of this name sees through; None of a blind one.

    Raises:
        UserError: it isn't there, or has no weights and isn't said to be random.
    """
    name = VLMName.read(text)
    if name.random:
        return create_model(name.tower, seed=seed)
    if name.tower == BLIND:
        return None
    if name.tower.replace("/", "-") in list_models() and not (WEIGHTS_FOLDER / name.tower).is_dir():
        raise UserError(
            f"model '{text}': the tower '{name.tower}' alone has random weights; name a pretrained one, or {RANDOM}"
            f"{name.tower} if that is the control you want"
        )
    return load_model(name.tower)


def load_vlm(name: str | Path, device: str | torch.device = "cpu") -> VLM:
    """Open a VLM that was saved, in evaluation mode and float32.

    Raises:
        UserError: there is none, or its files are damaged or don't belong together.
    """
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    if is_put_together(str(name)):
        raise UserError(f"model '{name}': its connector is new, so there is nothing to measure; train it first")
    folder = vlm_folder(name)
    if folder is None:
        raise UserError(f"{name}: holds no VLM; give the folder of a trained one, or a RUN")
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        with quiet():
            opened: Any = LlavaForConditionalGeneration.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
            llava, found = opened
            tokenizer = AutoTokenizer.from_pretrained(folder)
        lacking = [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]]
        if lacking:
            raise ValueError(f"weights don't fit: {lacking[0]}")
        return VLM(llava.eval(), name=about["name"], preprocess=about["preprocess"], tokenizer=tokenizer).to(device)
    except UserError:
        raise
    except Exception as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{folder}: can't be read as a VLM ({line[:200]}); export or copy it again") from error
