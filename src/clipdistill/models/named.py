"""Model configurations by name: open_clip's, and ours in `configs/` (small students and petri-sized models)."""

from __future__ import annotations

import functools
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError, nearest

CONFIG_FOLDER = Path(__file__).parent / "configs"
PETRI_TOKENIZER = Path(__file__).parent / "petri_tokenizer"
PETRI_WORDPIECE = Path(__file__).parent / "petri_wordpiece"
WEIGHTS_FOLDER = Path(__file__).parent / "petri_weights"

# In a configuration, this tokenizer name stands for the one that ships with the package.
SHIPPED_TOKENIZER = "clipdistill:petri_tokenizer"


@functools.cache
def _registered() -> tuple[str, ...]:
    """Add our configurations to open_clip's registry, once, and return every name there."""
    import open_clip

    open_clip.add_model_config(CONFIG_FOLDER)
    return tuple(open_clip.list_models())


def list_models() -> list[str]:
    """Return the names of all model configurations, open_clip's and ours."""
    return list(_registered())


def our_models() -> list[str]:
    """Return the names of the configurations that come with this package."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("*.json"))


def model_config(name: str) -> dict[str, Any]:
    """Return a copy of the open_clip `model_cfg` of a named model.

    Args:
        name: such as `ViT-B-32`; OpenAI's spelling `ViT-B/32` is understood too.

    Raises:
        UserError: no such name; the message gives the nearest one.
    """
    import open_clip

    clean = name.replace("/", "-")
    known = _registered()
    config = open_clip.get_model_config(clean) if clean in known else None
    if config is None:
        raise UserError(
            f"model '{name}': no such name, file or folder.{nearest(clean, known)} "
            "`python -c 'import open_clip; print(open_clip.list_pretrained())'` lists the pretrained ones"
        )
    return deepcopy(config)


def read_folder_config(folder: Path) -> dict[str, Any]:
    """Read `open_clip_config.json` of a checkpoint folder.

    Returns:
        A dict with at least `model_cfg` and `preprocess_cfg`.

    Raises:
        UserError: it isn't JSON or lacks `model_cfg`.
    """
    path = folder / "open_clip_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read as JSON ({error}); export or copy the model folder again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_cfg"), dict):
        raise UserError(f"{path}: has no 'model_cfg'; is this an open_clip model folder?")
    config.setdefault("preprocess_cfg", {})
    return config
