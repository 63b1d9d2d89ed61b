"""Making models from configurations, and putting weights into them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from clipdistill.errors import UserError

PLACEHOLDER = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
"""A text tower that costs nothing, where open_clip wants one."""


def build_clip(model_cfg: dict[str, Any], name: str) -> nn.Module:
    """Make the open_clip module (CLIP, CustomTextCLIP or CoCa) of a configuration, with random weights.

    Raises:
        UserError: the configuration doesn't fit open_clip, or names a Hugging Face text tower that can't be found.
    """
    from open_clip import CLIP, CoCa, CustomTextCLIP

    cfg = deepcopy(model_cfg)
    vision, text = cfg["vision_cfg"], cfg["text_cfg"]
    if vision.get("timm_model_name"):
        vision["timm_model_pretrained"] = False
    hugging_face = text.get("hf_model_name")
    if hugging_face:
        text["hf_model_pretrained"] = False
    custom = cfg.pop("custom_text", False) or hugging_face
    kind = CoCa if "multimodal_cfg" in cfg else CustomTextCLIP if custom else CLIP
    try:
        if hugging_face:
            return _with_text_tower(CustomTextCLIP, cfg)
        clip: nn.Module = kind(**cfg)
        _fit_projection(clip.visual)
        return clip
    except OSError as error:
        raise UserError(
            f"{name}: the text tower '{hugging_face}' can't be found; fetch it with `hf download {hugging_face}` "
            "(HF_HUB_CACHE is where downloads are looked for), or give a local folder"
        ) from error
    except (TypeError, KeyError, AttributeError, AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"{name}: open_clip can't build this model configuration ({_short(error)})") from error


def build_visual(cfg: dict[str, Any]) -> Any:
    """Make the image tower of a configuration (`embed_dim`, `vision_cfg`, perhaps `quick_gelu`), with random weights.

    Raises:
        UserError: it doesn't fit open_clip.
    """
    from open_clip import CustomTextCLIP

    cfg = deepcopy(cfg)
    if cfg["vision_cfg"].get("timm_model_name"):
        cfg["vision_cfg"]["timm_model_pretrained"] = False
    try:
        clip = CustomTextCLIP(**cfg, text_cfg=dict(PLACEHOLDER))
        _fit_projection(clip.visual)
        _fit_size(clip.visual, cfg["vision_cfg"])
    except (TypeError, KeyError, AttributeError, AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"image tower: open_clip can't build this configuration ({_short(error)})") from error
    return clip.visual


def _with_text_tower(kind: Any, cfg: dict[str, Any]) -> nn.Module:
    """Make a CustomTextCLIP with a Hugging Face text tower, of whatever type."""
    from clipdistill.models.text_tower import known_to_open_clip, text_tower

    text = cfg["text_cfg"]
    clip: Any
    if known_to_open_clip(text["hf_model_name"]):
        clip = kind(**cfg)
    else:
        tower = text_tower(text, cfg["embed_dim"])
        clip = kind(**{**cfg, "text_cfg": dict(PLACEHOLDER)})
        clip.text, clip.context_length, clip.vocab_size = tower, tower.context_length, tower.vocab_size
    _fit_projection(clip.visual)
    _fit_size(clip.visual, cfg["vision_cfg"])
    return cast(nn.Module, clip)


def _fit_size(visual: Any, vision: dict[str, Any]) -> None:
    """Tell a timm network the size of its pictures, where that isn't the one that it was made for."""
    size = vision.get("image_size")
    if vision.get("timm_model_name") and size != visual.trunk.default_cfg["input_size"][-1]:
        visual.set_input_size(size)


def _fit_projection(visual: Any) -> None:
    """Correct the input width of open_clip's projection for timm networks with a hidden layer in their head.

    open_clip takes `num_features`, the width before that layer (MobileNetV3, LCNet), and such models fail when run.
    """
    trunk, head = getattr(visual, "trunk", None), getattr(visual, "head", None)
    width = getattr(trunk, "head_hidden_size", None)
    if not width or width == trunk.num_features or not head:  # type: ignore[union-attr]
        return
    if hasattr(head, "proj"):
        old = head.proj
        head.proj = nn.Linear(width, old.out_features, bias=old.bias is not None)
    elif hasattr(head, "mlp"):
        old = head.mlp.fc1
        head.mlp.fc1 = nn.Linear(width, old.out_features, bias=old.bias is not None)


PREPROCESS = {
    "interpolation": ("bicubic", "bilinear", "random"),
    "resize_mode": ("shortest", "longest", "squash"),
}


def full_preprocess(clip: Any, overlay: dict[str, Any] | None = None, where: object = "model") -> dict[str, Any]:
    """Return preprocessing with every field filled: open_clip's defaults, then `overlay`, then the tower's own size.

    Raises:
        UserError: a value that no preprocessing has; `where` names whose.
    """
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    found: dict[str, Any] = merge_preprocess_dict(asdict(PreprocessCfg()), overlay or {})
    size = getattr(clip.visual, "image_size", None) or found["size"]
    found["size"] = [int(size), int(size)] if isinstance(size, int) else [int(side) for side in size]
    for key in ("mean", "std"):
        values = found[key]
        if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(_is_finite, values)):
            raise UserError(f"{where}: `preprocess_cfg.{key}` is {values!r}, not a number a colour")
    if min(found["std"]) <= 0:
        raise UserError(f"{where}: `preprocess_cfg.std` is {found['std']!r}; what is divided by is above 0")
    for key, allowed in PREPROCESS.items():
        if found[key] is not None and found[key] not in allowed:
            raise UserError(f"{where}: `preprocess_cfg.{key}` is {found[key]!r}; there are {', '.join(allowed)}")
    if not isinstance(found["fill_color"], int) or not 0 <= found["fill_color"] <= 255:
        raise UserError(
            f"{where}: `preprocess_cfg.fill_color` is {found['fill_color']!r}, not a whole number from 0 to 255"
        )
    found["mean"], found["std"] = list(found["mean"]), list(found["std"])
    return found


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def attach_preprocess(clip: nn.Module, preprocess: dict[str, Any]) -> None:
    """Note the preprocessing on the open_clip module, where open_clip's own functions look for it."""
    from open_clip import set_model_preprocess_cfg

    set_model_preprocess_cfg(clip, preprocess)


def load_weights(clip: nn.Module, path: str | Path, name: str) -> None:
    """Load a checkpoint file (safetensors, or a pickle read with `weights_only=True`) into an open_clip module.

    Formats that open_clip knows (its training checkpoints, OpenAI's, MobileCLIP's, big_vision's `.npz`) are converted.

    Raises:
        UserError: the file is missing, damaged, unsafe to unpickle, or of another model.
    """
    import open_clip

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{name}: the weights file {path} doesn't exist; give an existing .safetensors or .pt file")
    try:
        open_clip.load_checkpoint(clip, str(path), strict=True, weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: doesn't load into '{name}' ({_short(error)}); is it another model's file?") from error
    require_finite(clip.state_dict(), path)


def require_finite(state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise a UserError where a weight is NaN or infinite: all that is computed with it would be."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"{path}: `{name}` holds NaN or infinity; fetch the file again, or export it again")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from safetensors, or from a pickle with `weights_only=True`.

    Raises:
        UserError: missing or damaged, or a pickle that holds more than tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: this weights file doesn't exist; give an existing .safetensors or .pt file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded = load_file(path)
            require_finite(loaded, path)
            return loaded
        found = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: can't be read as weights ({_short(error)}); fetch the file again") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict of tensors; give a .safetensors file of the model's weights")
    require_finite(state, path)
    return state


def _short(error: BaseException) -> str:
    """The first informative line of an error, cut to a length that fits a message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines else type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
