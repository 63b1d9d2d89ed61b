"""VLMs by name: put together from parts, or opened from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.models.loading import create_model, load_model
from clipdistill.models.named import WEIGHTS_FOLDER, list_models
from clipdistill.models.vlm.creating import create_vlm
from clipdistill.models.vlm.model import VLM
from clipdistill.models.vlm.quiet import quiet

PREFIX = "vlm:"
"""Begins the name of a VLM that is put together: `vlm:TOWER+LANGUAGE_MODEL`."""
ABOUT = "clipdistill.json"
"""What a saved VLM holds besides transformers' files: its name and how it wants pictures."""
BLIND, RANDOM, DROP_FIRST = "blind", "random:", "drop-first:"


def start_vlm(text: str, seed: int | None = None) -> VLM:
    """Put a VLM together by name: `vlm:TOWER+LANGUAGE_MODEL`.

    TOWER: a dual encoder by any of its names (`ViT-B-16:openai`, a folder, a RUN); `random:NAME`, one with drawn
    weights; `blind`, none at all; with `drop-first:` before it, one whose token 0 is left out.

    Raises:
        UserError: a part is missing, or can't be opened.
    """
    tower, plus, language = text.removeprefix(PREFIX).rpartition("+")
    if not plus or not tower or not language:
        raise UserError(f"model '{text}': name an image tower and a language model, {PREFIX}TOWER+LANGUAGE_MODEL")
    drop_first, tower = tower.startswith(DROP_FIRST), tower.removeprefix(DROP_FIRST)
    encoder: Any = None
    if tower.startswith(RANDOM):
        encoder = create_model(tower.removeprefix(RANDOM), seed=seed)
    elif tower != BLIND:
        if tower.replace("/", "-") in list_models() and not (WEIGHTS_FOLDER / tower).is_dir():
            raise UserError(
                f"model '{text}': the tower '{tower}' alone has random weights; name a pretrained one, or {RANDOM}"
                f"{tower} if that is the control you want"
            )
        encoder = load_model(tower)
    return create_vlm(encoder, language, name=text, seed=seed, drop_first=drop_first)


def vlm_folder(name: str | Path) -> Path | None:
    """The folder with a VLM that a name stands for: itself, or `student/` of a RUN; None = there is none."""
    for folder in (Path(name), Path(name) / "student"):
        if (folder / ABOUT).is_file() and (folder / "config.json").is_file():
            return folder
    return None


def is_vlm(name: str | Path) -> bool:
    """Whether a name means a VLM."""
    return str(name).startswith(PREFIX) or vlm_folder(name) is not None


def load_vlm(name: str | Path, device: str | torch.device = "cpu") -> VLM:
    """Open a VLM that was saved, in evaluation mode and float32.

    Raises:
        UserError: there is none, or its files are damaged or don't belong together.
    """
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    if str(name).startswith(PREFIX):
        raise UserError(f"model '{name}': its connector is new, so there is nothing to measure; train it first")
    folder = vlm_folder(name)
    if folder is None:
        raise UserError(f"{name}: holds no VLM; give the folder of a trained one, or a RUN")
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        with quiet():
            llava, found = LlavaForConditionalGeneration.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
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
