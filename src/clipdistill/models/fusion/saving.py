"""Fusion models in folders of their own layout, and by every name that opens one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.files import atomic_path, write_json
from clipdistill.models.fusion.base import FusionBase
from clipdistill.models.fusion.clip_adapter import ClipAdapter, create_adapter
from clipdistill.models.fusion.clip_vil import ClipViL, create_clip_vil
from clipdistill.models.fusion.config import FusionConfig, fusion_config, is_config
from clipdistill.models.fusion.creating import create_fusion, open_tokenizer
from clipdistill.models.fusion.filling import fill
from clipdistill.models.fusion.model import FusionModel
from clipdistill.models.fusion.released import from_released, read_released, released_config
from clipdistill.models.fusion.starting import on_clip, split_name, start_from_bert
from clipdistill.models.loading import load_model
from clipdistill.models.named import WEIGHTS_FOLDER

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CHECKPOINTS = (".pt", ".pth", ".bin", ".model", ".safetensors")
TYPE = "clipdistill_fusion"
"""Stands as `model_type` in `config.json`, which transformers' models have too."""


def save_fusion(model: FusionBase, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write `model.safetensors`, the tokenizer's files and then `config.json`, which makes the folder a model.

    Of an adapter or a CLIP-ViL its own weights alone; the CLIP has to lie in `clip/`. dtype: what weights are rounded
    to; opened again they are float32.
    """
    from safetensors.torch import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
        for name, value in model.own_state().items()
    }
    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save(state))
    if isinstance(model, FusionModel) and model.has_tokenizer:
        model.tokenizer.save_pretrained(folder)
    config = {"model_type": TYPE, "name": model.name, **model.config.model_dump()}
    write_json(folder / CONFIG, config)


def fusion_folder(name: str | Path) -> Path | None:
    """The folder with a model that a name stands for: itself, `student/` of a RUN, shipped; None = there is none."""
    for folder in (Path(name), Path(name) / "student", WEIGHTS_FOLDER / name):
        try:
            found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and found.get("model_type") == TYPE:
            return folder
    return None


def is_fusion(name: str | Path) -> bool:
    """Whether a name means a fusion model: a configuration, one on a CLIP, a checkpoint file, a folder, a RUN."""
    known = split_name(str(name))[0]
    if is_config(known) or on_clip(known) or fusion_folder(name) is not None:
        return True
    return Path(name).suffix in CHECKPOINTS and Path(name).is_file()


def load_fusion(name: str | Path, device: str | torch.device = "cpu", *, seed: int = 0) -> FusionBase:
    """Open a fusion model, in evaluation mode.

    Args:
        name: a folder that `save_fusion` wrote, or a RUN; a checkpoint file of the authors of UNITER, VILLA or VL-BERT,
            whose shapes and heads it has; `NAME:FILE`, a configuration (of `NAMED`, or a .json file) filled from such a
            file, for example `uniter-base-vcr:/path/uniter-base.pt`; `NAME:BERT`, one that starts from a BERT, a folder
            in transformers' layout or the name of one on the hub, whose vocabulary it takes.
        seed: of what the file doesn't hold, such as the heads of the task to come.

    Raises:
        UserError: nothing of that name, damaged or of other shapes; a name alone, which has random weights.
    """
    text = str(name)
    known, checkpoint = split_name(text)
    if (folder := fusion_folder(name)) is not None:
        return _from_folder(folder).to(device)
    if on_clip(known):
        raise UserError(f"model '{text}': what stands on a CLIP has random weights; give the folder of a trained one")
    if is_config(known) and checkpoint is None:
        raise UserError(f"model '{text}': a name alone has random weights; add a checkpoint: {text}:/path/FILE.pt")
    if not is_config(known) and not Path(name).is_file():
        raise UserError(f"{text}: holds no fusion model; give the folder of one, a checkpoint, or NAME:FILE")
    if checkpoint is not None and Path(checkpoint).suffix not in CHECKPOINTS:

        def make(config: FusionConfig, words: Path) -> FusionModel:
            return create_fusion(config, seed, tokenizer=words)

        return start_from_bert(known, checkpoint, make).to(device)
    file = Path(checkpoint or text)
    found = from_released(read_released(file), str(file))
    config = fusion_config(known) if checkpoint else released_config(found, str(file))
    model = create_fusion(config, seed)
    model.name = known if checkpoint else file.stem
    fill(model, found, str(file))
    return model.to(device)


def _from_folder(folder: Path) -> FusionBase:
    from safetensors.torch import load_file

    try:
        fields: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        name = fields.pop("name", folder.resolve().name)
        fields.pop("model_type")
        there = folder if (folder / "tokenizer_config.json").is_file() else None
        if fields.get("architecture") in ("clip_adapter", "clip_vil"):
            clip, found = load_model(folder / "clip"), load_file(folder / WEIGHTS)
            state = {**found, **{f"clip.{key}": value for key, value in clip.state_dict().items()}}
            stands: ClipAdapter | ClipViL
            if fields["architecture"] == "clip_vil":
                stands = create_clip_vil(fields, clip, 0, tokenizer=there or False)
            else:
                stands = create_adapter(fields, clip, 0)
            stands.name = name
            stands.load_state_dict(state)
            return stands
        config = fusion_config(fields)
        words = None if there is None else open_tokenizer(config, there)
        with torch.device("meta"):
            model = FusionModel(config, name=name, tokenizer=words)
        state = {
            key: value.float() if value.is_floating_point() else value
            for key, value in load_file(folder / WEIGHTS).items()
        }
        model.load_state_dict(state, assign=True)
    except UserError:
        raise
    except Exception as error:
        line = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        raise UserError(f"{folder}: can't be read as a fusion model ({line[:200]}); export or copy it again") from error
    return model.requires_grad_(True).eval()
