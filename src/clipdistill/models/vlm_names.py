"""Names of VLMs: put together, `vlm:TOWER+LANGUAGE_MODEL`, or a folder's. Here nothing of transformers is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError

PREFIX = "vlm:"
"""Begins the name of a VLM that is put together."""
BLIND, RANDOM, DROP_FIRST = "blind", "random:", "drop-first:"
ABOUT = "clipdistill.json"
"""What a saved VLM holds besides transformers' files: its name and how it wants pictures."""
NEW_LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "petri-lm": {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4},
    "petri-lm-tiny": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
}
"""Llamas to be made from scratch, by name."""


@dataclass(frozen=True)
class VLMName:
    """What such a name says.

    Attributes:
        tower: a dual encoder by any of its names, or `blind`, none at all. random: whether its weights are drawn
            (`random:NAME`). drop_first: whether token 0 is left out (`drop-first:NAME`, see `ImageTowerConfig`).
        language_model: a causal language model by name or folder.
    """

    tower: str
    language_model: str
    random: bool = False
    drop_first: bool = False

    @classmethod
    def read(cls, text: str) -> VLMName:
        """Read a name; UserError where a part is missing."""
        tower, plus, language_model = text.removeprefix(PREFIX).rpartition("+")
        drop_first, tower = tower.startswith(DROP_FIRST), tower.removeprefix(DROP_FIRST)
        random, tower = tower.startswith(RANDOM), tower.removeprefix(RANDOM)
        if not plus or not tower or not language_model:
            raise UserError(f"model '{text}': name an image tower and a language model, {PREFIX}TOWER+LANGUAGE_MODEL")
        return cls(tower, language_model, random, drop_first)


def is_put_together(name: str) -> bool:
    """Whether a name is of a VLM that is put together."""
    return name.startswith(PREFIX)


def weights_of(text: str) -> list[str]:
    """Names of the weights that it can't do without; of a name that says too little, none."""
    try:
        name = VLMName.read(text)
    except UserError:
        return []
    tower = [] if name.random or name.tower == BLIND else [name.tower]
    return tower + ([] if name.language_model in NEW_LANGUAGE_MODELS else [name.language_model])


def vlm_folder(name: str | Path) -> Path | None:
    """The folder with a VLM that a name stands for: itself, or `student/` of a RUN; None = there is none."""
    for folder in (Path(name), Path(name) / "student"):
        if (folder / ABOUT).is_file() and (folder / "config.json").is_file():
            return folder
    return None


def is_vlm(name: str | Path) -> bool:
    """Whether a name means a VLM."""
    return is_put_together(str(name)) or vlm_folder(name) is not None
