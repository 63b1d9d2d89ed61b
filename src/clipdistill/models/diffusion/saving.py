"""Writing a diffusion model as a diffusers pipeline folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipdistill.errors import UserError
from clipdistill.files import write_json
from clipdistill.models.quiet import quiet

if TYPE_CHECKING:
    from clipdistill.models.diffusion.model import DiffusionTeacher


def save_diffusion(model: DiffusionTeacher, folder: str | Path) -> Path:
    """Write `unet/`, `scheduler/`, `text_encoder/`, `tokenizer/` and, where there is one, `vae/`.

    With a VAE the folder opens as diffusers' StableDiffusionPipeline; without one, part by part (diffusers has no
    pipeline for text-conditional pixels) and with `load_diffusion`.

    Raises:
        UserError: the folder can't be written.
    """
    import diffusers

    folder = Path(folder)
    try:
        with quiet():
            model.unet.save_pretrained(folder / "unet")
            model.text_encoder.save_pretrained(folder / "text_encoder")
            model.tokenizer.inner.save_pretrained(folder / "tokenizer")
            model.scheduler.save_pretrained(folder / "scheduler")
            if model.vae is not None:
                model.vae.save_pretrained(folder / "vae")
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror or error}); choose another folder") from error
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline" if model.vae is not None else "DiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", type(model.scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    if model.vae is not None:
        index["vae"] = ["diffusers", "AutoencoderKL"]
    write_json(folder / "model_index.json", index)  # last: this file makes the folder a pipeline
    return folder
