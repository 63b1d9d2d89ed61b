"""Meta-teachers: attention over a picture's regions and a caption's tokens, on top of a frozen dual encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clipdistill.kinds.base import Kind
from clipdistill.models.meta_teacher import CONFIG, MetaTeacher


class MetaTeacherKind(Kind):
    """Made by a task on top of a dual encoder (`Task.make_student`), never by a name of its own."""

    name = "meta_teacher"
    layouts = ("meta_teacher",)

    def recognises(self, name: str) -> bool:
        """A folder that `save` wrote."""
        return (Path(name) / CONFIG).is_file()

    def load(self, name: str | Path, device: torch.device | str = "cpu") -> Any:
        """See `MetaTeacher.load`."""
        return MetaTeacher.load(name).to(device)

    def save(self, model: Any, folder: Path) -> None:
        """Weights and configuration."""
        model.save(folder)

    def fingerprint(self, model: Any, features: str = "embedding") -> str:
        """Of configuration and weights."""
        found: str = model.fingerprint()
        return found

    def cost(self, model: Any, device: torch.device | str = "cpu", *, speed: bool = True) -> dict[str, float]:
        """Parameters, all of them on the image's side."""
        total = sum(parameter.numel() for parameter in model.parameters())
        return {"parameters": total, "image_parameters": total, "text_parameters": 0}
