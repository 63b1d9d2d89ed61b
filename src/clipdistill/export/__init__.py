"""Students as folders that other libraries open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from clipdistill.models.dual_encoder import DualEncoder


def save_student(model: DualEncoder, folder: str | Path, *, dtype: torch.dtype | None = None) -> list[Path]:
    """Write a model as a checkpoint folder; see `clipdistill.export.student.save_student`."""
    from clipdistill.export.student import save_student as save

    return save(model, folder, dtype=dtype)
