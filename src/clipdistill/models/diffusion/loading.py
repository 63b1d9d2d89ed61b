"""Opening a diffusion model from a diffusers pipeline folder or from the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError, nearest
from clipdistill.models.diffusion.creating import NAMED
from clipdistill.models.diffusion.model import DiffusionTeacher
from clipdistill.models.named import WEIGHTS_FOLDER
from clipdistill.models.quiet import quiet

PARTS = ("unet", "text_encoder", "tokenizer", "scheduler")

# The parts that are read, in safetensors and full precision; a Stable Diffusion repository holds four times as much.
_WANTED = ["model_index.json", "scheduler/*.json", "tokenizer/*", "text_encoder/config.json", "unet/config.json"]
_WANTED += ["vae/config.json", "text_encoder/model.safetensors", "text_encoder/model-*.safetensors"]
_WANTED += [f"{part}/diffusion_pytorch_model{end}" for part in ("unet", "vae") for end in (".safetensors", "-*")]
_WANTED += ["*/*.safetensors.index.json"]


def is_diffusion(name: str | Path) -> bool:
    """Whether a name means a diffusion model on this machine: a diffusers folder, a RUN, or one that is shipped."""
    folder = diffusion_folder(name)
    return folder is not None and (folder / "unet").is_dir()


def diffusion_folder(name: str | Path) -> Path | None:
    """The folder that a name stands for, `student/` of a RUN; None when there is none."""
    folder = Path(str(name)).expanduser()
    if not folder.is_dir():
        folder = WEIGHTS_FOLDER / str(name)
    if (folder / "student" / "unet").is_dir():
        folder = folder / "student"  # a RUN
    return folder if folder.is_dir() else None


def load_diffusion(
    name: str | Path, device: str | torch.device = "cpu", *, dtype: torch.dtype = torch.float32,
    channels_last: bool = False, checkpointing: bool = False, role: str = "teacher0",
) -> DiffusionTeacher:  # fmt: skip
    """Open a text-to-image diffusion model, frozen and in eval mode.

    Args:
        name: a folder in diffusers' pipeline layout (`unet/`, `scheduler/`, `text_encoder/`, `tokenizer/`, perhaps
            `vae/`), a RUN folder, of which `student/` is taken, a name of ours with shipped weights
            (`petri-diffusion`), or a hub name with or without `hf-hub:`.
        dtype: precision of the weights, such as torch.bfloat16.
        channels_last, checkpointing: see `use_channels_last` and `set_grad_checkpointing`.
        role: whose pictures and captions of a batch are its own.

    Raises:
        UserError: no such folder or repository, a part that is missing or damaged, parts that don't fit one another.
    """
    text = str(name).removeprefix("hf-hub:")
    folder = diffusion_folder(text) or _from_hub(text)
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise UserError(f"{folder}: has no {missing[0]}/; give a folder in diffusers' pipeline layout")
    label = str(name) if not Path(str(name)).is_dir() else Path(str(name)).resolve().name
    with quiet():
        parts = {part: _part(part, folder / part, dtype) for part in (*PARTS[:3], "vae") if (folder / part).is_dir()}
    model = DiffusionTeacher(
        parts["unet"], parts["text_encoder"], parts["tokenizer"], _scheduler(folder / "scheduler"), parts.get("vae"),
        name=label, role=role,
    ).freeze()  # fmt: skip
    model.to(device)
    if channels_last:
        model.use_channels_last()
    if checkpointing:
        model.set_grad_checkpointing()
    return model


def _part(part: str, folder: Path, dtype: torch.dtype) -> Any:
    import diffusers
    import transformers

    try:
        if part == "tokenizer":
            return transformers.CLIPTokenizer.from_pretrained(folder)
        kind: Any
        kind, word = {
            "unet": (diffusers.UNet2DConditionModel, "torch_dtype"),
            "vae": (diffusers.AutoencoderKL, "torch_dtype"),
            "text_encoder": (transformers.CLIPTextModel, "dtype"),
        }[part]
        model, found = kind.from_pretrained(folder, output_loading_info=True, **{word: dtype})
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = (lines[0] if lines else type(error).__name__)[:200]
        raise UserError(f"{folder}: can't be opened ({why}); fetch this part of the checkpoint again") from error
    # Both libraries fill what a file lacks with random numbers and say so in a log; names change between versions.
    missing = sorted(found["missing_keys"])
    if missing:
        raise UserError(
            f"{folder}: lacks {len(missing)} of the weights that this version's {type(model).__name__} has, such as "
            f"{missing[0]}; fetch this part of the checkpoint again, or open it with the library version that wrote it"
        )
    return model


def _scheduler(folder: Path) -> Any:
    """A DDPM scheduler with the checkpoint's own betas, whichever sampler the checkpoint names."""
    from diffusers import DDPMScheduler

    path = folder / "scheduler_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read as JSON ({error}); fetch this file again") from error
    if "beta_start" not in config and config.get("trained_betas") is None:
        raise UserError(
            f"{path}: is of {config.get('_class_name')}, which has no beta_start; give a checkpoint with "
            "DDPM's noise schedule, such as Stable Diffusion v1 or v2"
        )
    return DDPMScheduler.from_config(config)


def _from_hub(repository: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=_WANTED))
    except Exception as error:
        if repository in NAMED:
            raise UserError(
                f"diffusion model '{repository}': its weights aren't in this installation; train it with `clipdistill "
                "train petri/diffusion_teacher` and give the RUN's folder"
            ) from error
        raise UserError(
            f"diffusion model '{repository}': no such folder, and it couldn't be fetched from the hub; "
            f"`hf download {repository}` (cache: {constants.HF_HUB_CACHE}), or give a local pipeline folder."
            f"{nearest(repository, NAMED)}"
        ) from error
