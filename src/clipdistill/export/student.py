"""Saving a model as a folder that open_clip opens, and transformers where the architecture allows it."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.export.tokenizer_files import save_tokenizer
from clipdistill.export.transformers_folder import image_processor_config, transformers_config, transformers_obstacle
from clipdistill.files import atomic_path, write_json
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.transformers_clip import OWN_TOKENIZER, to_transformers_state


def save_student(model: DualEncoder, folder: str | Path, *, dtype: torch.dtype | None = None) -> list[Path]:
    """Write a model as a checkpoint folder.

    The folder holds `open_clip_config.json` and `open_clip_model.safetensors`
    (`open_clip.create_model_and_transforms("local-dir:FOLDER")`), the tokenizer's files, and for CLIP-shaped models
    (see `transformers_obstacle`) `config.json`, `model.safetensors` and `preprocessor_config.json`
    (`CLIPModel.from_pretrained(FOLDER)`, `CLIPProcessor.from_pretrained(FOLDER)`). `load_model(FOLDER)` opens it too.
    transformers' CLIPModel has no logit bias: embeddings agree, and logits up to that constant. Its image processors
    resize as we do (the default one to within one grey level in 255), but where the margin to crop off is an odd number
    of pixels their crop lies one pixel beside open_clip's and ours; no setting of theirs changes that.

    Args:
        dtype: precision of the floating-point weights in the files; None keeps the model's own.

    Returns:
        The files written.

    Raises:
        UserError: the folder can't be written or the disk is full.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: can't be made ({error.strerror}); choose another folder") from error
    state = {name: _stored(value, dtype) for name, value in model.clip.state_dict().items()}
    written = [_save_tensors(state, folder / "open_clip_model.safetensors")]
    written += save_tokenizer(model.tokenizer, folder)
    if transformers_obstacle(model) is None:
        written.append(_save_tensors(to_transformers_state(state), folder / "model.safetensors"))
        written.append(_save_json(transformers_config(model), folder / "config.json"))
        written.append(_save_json(image_processor_config(model.preprocess), folder / "preprocessor_config.json"))
    written += _save_text_tower(model, folder)
    # Last, because this file is what makes the folder a checkpoint.
    written.append(_save_json(portable_config(model), folder / "open_clip_config.json"))
    return written


def portable_config(model: DualEncoder) -> dict[str, Any]:
    """Return the model's configuration without paths of this machine."""
    config = deepcopy(model.config)
    text = config["model_cfg"]["text_cfg"]
    if _is_path(text.get("hf_tokenizer_name")):
        text["hf_tokenizer_name"] = OWN_TOKENIZER
    if _is_path(text.get("hf_model_name")):
        text["hf_model_name"] = "text_tower"
    config["clipdistill"] = {**config.get("clipdistill", {}), "name": model.name}
    return config


def _save_text_tower(model: DualEncoder, folder: Path) -> list[Path]:
    """Keep the configuration of a Hugging Face text tower, so that the folder opens without the hub."""
    if not model.config["model_cfg"]["text_cfg"].get("hf_model_name"):
        return []
    config = model.clip.text.config.to_dict()
    config.pop("_name_or_path", None)
    return [_save_json(config, folder / "text_tower" / "config.json")]


def _is_path(name: str | None) -> bool:
    return bool(name) and (os.path.isabs(str(name)) or Path(str(name)).is_dir())


def _stored(value: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    value = value.detach().cpu()
    if dtype is not None and value.is_floating_point():
        value = value.to(dtype)
    return value.contiguous().clone()  # safetensors refuses tensors that share memory


def _save_json(value: dict[str, Any], path: Path) -> Path:
    write_json(path, value)
    return path


def _save_tensors(state: dict[str, torch.Tensor], path: Path) -> Path:
    from safetensors.torch import save

    # Through bytes, not `save_file`: that one makes files only their owner can read, and hides "disk full" in its text.
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(state, metadata={"format": "pt"}))
    return path
