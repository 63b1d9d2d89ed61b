"""From a name to a model: every spelling of MODEL that the commands and recipes take."""

from __future__ import annotations

import json
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError, nearest
from clipdistill.models.building import attach_preprocess, build_clip, full_preprocess, load_weights, require_finite
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.named import WEIGHTS_FOLDER, list_models, model_config, our_models, read_folder_config
from clipdistill.models.tokenisation import make_tokenizer

HUB = "hf-hub:"
SHIPPED = ":shipped"  # the tag of weights that come with the package: a student that starts from them
LOCAL = "local-dir:"


def create_model(name: str, seed: int | None = None, *, device: str | torch.device = "cpu") -> DualEncoder:
    """Make a named model with random weights.

    Args:
        name: a configuration of open_clip's or ours, such as `ViT-B-32`, `ViT-T-16`, `RN50`, `petri-student`.
        seed: makes the weights a function of this number and leaves torch's own random state untouched; None draws
            from torch's random state.

    Raises:
        UserError: no such name, or a tokenizer or text tower that isn't on this machine.
    """
    model_cfg = model_config(name)
    with torch.random.fork_rng(devices=[]) if seed is not None else nullcontext():
        if seed is not None:
            torch.manual_seed(seed)
        return assemble(name, {"model_cfg": model_cfg}).to(device)


def assemble(name: str, config: dict[str, Any], *, folder: Path | None = None) -> DualEncoder:
    """Make the model that a configuration describes, with random weights.

    Args:
        config: what `open_clip_config.json` holds: `model_cfg`, and `preprocess_cfg` where it isn't the default.
        folder: the checkpoint folder it came from, whose tokenizer files are used.
    """
    model_cfg = deepcopy(config["model_cfg"])
    tokenizer = make_tokenizer(model_cfg["text_cfg"], name, folder)  # first: its files may be missing
    clip = build_clip(model_cfg if folder is None else _with_text_tower_of(folder, model_cfg), name)
    where = name if folder is None else folder / "open_clip_config.json"
    preprocess = full_preprocess(clip, config.get("preprocess_cfg"), where)
    attach_preprocess(clip, preprocess)
    full = {**config, "model_cfg": model_cfg, "preprocess_cfg": preprocess}
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if vision.get("timm_model_name") and text.get("hf_model_name"):
        from clipdistill.models.joined import JoinedEncoder

        return JoinedEncoder.around(clip, name=name, config=full, tokenizer=tokenizer)
    return DualEncoder(clip, name=name, config=full, tokenizer=tokenizer).eval()


def load_model(name: str | Path, device: str | torch.device = "cpu") -> DualEncoder:
    """Open a model by any of its names, in evaluation mode.

    Args:
        name: one of
            `ViT-B-32:openai` (an open_clip name and a pretrained tag), `ViT-B-32:/path/weights.pt` (a name and a file),
            `ViT-T-16` (a name alone: random weights; see `create_model` for a seed),
            `petri-teacher` (weights that come with this package),
            `hf-hub:owner/name` (an open_clip or transformers CLIP repository on the Hugging Face hub),
            a folder in open_clip's layout (`open_clip_config.json`), in transformers' (`config.json` of type `clip`),
            or a RUN folder, of which `student/` is taken.
        device: where to put it.

    Raises:
        UserError: nothing has this name (the nearest is given), or its files are missing, damaged, or not on this
            machine while the hub can't be reached (what to fetch and where to put it is said); no such device.
    """
    text = str(name)
    if text.startswith(HUB):
        from clipdistill.models.hub import hub_folder

        model = _from_folder(hub_folder(text.removeprefix(HUB)), label=text)
    elif Path(text.removeprefix(LOCAL)).is_dir():
        model = _from_folder(Path(text.removeprefix(LOCAL)))
    elif (WEIGHTS_FOLDER / text.removesuffix(SHIPPED)).is_dir():
        model = _from_folder(WEIGHTS_FOLDER / text.removesuffix(SHIPPED))
    elif text in our_models() and "-teacher" in text:
        raise UserError(f"model '{text}': its weights aren't in this installation; train it with `clipdistill train`")
    elif ":" in text and not text.startswith(LOCAL):
        model = _pretrained(*text.split(":", 1))
    elif text.replace("/", "-") in list_models() or not _looks_like_path(text):
        model = create_model(text)
    else:
        raise UserError(f"model '{text}': there is no such folder; give a checkpoint or RUN folder, or a model name")
    return moved(model.eval(), device)


def moved(model: DualEncoder, device: str | torch.device) -> DualEncoder:
    """The model on a device; a UserError for one that isn't there."""
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch that was built without CUDA asserts
        raise UserError(f"device '{device}': {str(error).splitlines()[0]}; `clipdistill doctor` lists them") from error


def _looks_like_path(text: str) -> bool:
    return text.startswith((LOCAL, ".", "~")) or "/" in text


def _from_folder(folder: Path, label: str | None = None) -> DualEncoder:
    if (folder / "student").is_dir() and not (folder / "open_clip_config.json").is_file():
        folder = folder / "student"  # a RUN
    if (folder / "open_clip_config.json").is_file():
        config = read_folder_config(folder)
        own = config.get("clipdistill")
        named = own.get("name") if isinstance(own, dict) else None
        label = label or (named if isinstance(named, str) else None) or folder.resolve().name
        try:
            model = assemble(label, config, folder=folder)
        except UserError:
            raise
        except Exception as error:  # whatever open_clip makes of values that no model has
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{folder / 'open_clip_config.json'}: no model can be made of it ({reason})") from error
        load_weights(model.clip, _weights_file(folder), label)
        return model
    if (folder / "config.json").is_file():
        return _from_transformers(folder, label or folder.resolve().name)
    if (folder / "recipe.yaml").is_file():
        raise UserError(f"{folder}: this RUN has no student/ yet; let its training end, or continue it with --resume")
    raise UserError(f"{folder}: holds neither open_clip_config.json nor config.json; give a checkpoint or RUN folder")


def _weights_file(folder: Path) -> Path:
    from open_clip.factory import _find_checkpoint_in_dir

    found = _find_checkpoint_in_dir(folder)
    if found is None:
        raise UserError(f"{folder}: has no weights; put open_clip_model.safetensors beside open_clip_config.json")
    return Path(found)


def _from_transformers(folder: Path, label: str) -> DualEncoder:
    from clipdistill.models.transformers_clip import read_transformers_folder

    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'}: can't be read as JSON ({error}); copy the folder again") from error
    if kind != "clip":
        raise UserError(f"{folder / 'config.json'}: model_type is '{kind}'; only 'clip' opens here")
    config, state = read_transformers_folder(folder)
    model = assemble(label, config, folder=folder)
    try:
        model.clip.load_state_dict(state)
        require_finite(state, folder)
    except RuntimeError as error:
        raise UserError(
            f"{folder}: the weights don't fit config.json ({str(error).splitlines()[-1].strip()})"
        ) from error
    return model


def _pretrained(name: str, tag: str) -> DualEncoder:
    """An open_clip name with a pretrained tag or a weights file."""
    import open_clip

    clean = name.replace("/", "-")
    model_config(clean)  # an unknown name is the first thing to complain about
    pretrained = open_clip.get_pretrained_cfg(clean, tag)
    if not pretrained:
        if not Path(tag).is_file():
            tags = open_clip.list_pretrained_tags_by_model(clean)
            listed = f" It has: {', '.join(tags)}" if tags else " It has none"
            raise UserError(f"model '{name}:{tag}': no such pretrained tag or file.{nearest(tag, tags)}{listed}")
        model = create_model(clean)
        load_weights(model.clip, tag, clean)
    else:
        from clipdistill.models.hub import pretrained_file

        cfg = model_config(clean)
        # open_clip only warns when a tag was trained with QuickGELU and the configuration says GELU; the embeddings
        # would be wrong, so the tag decides.
        if pretrained.get("quick_gelu"):
            cfg["quick_gelu"] = True
        path = pretrained_file(f"{name}:{tag}", pretrained)
        model = assemble(clean, {"model_cfg": cfg, "preprocess_cfg": dict(pretrained)})
        load_weights(model.clip, path, f"{name}:{tag}")
    model.name = f"{name}:{tag}" if pretrained else f"{name}:{Path(tag).name}"
    return model


def _with_text_tower_of(folder: Path, model_cfg: dict[str, Any]) -> dict[str, Any]:
    """Point a Hugging Face text tower at its configuration inside the checkpoint folder, where there is one.

    A copy, so that the folder's place never gets into the model's own configuration.
    """
    text_cfg = model_cfg["text_cfg"]
    if text_cfg.get("hf_model_name") and (folder / "text_tower" / "config.json").is_file():
        text_cfg = {**text_cfg, "hf_model_name": str(folder / "text_tower")}
    return {**model_cfg, "text_cfg": text_cfg}
