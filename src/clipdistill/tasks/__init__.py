"""Tasks: one file a method. `TASKS` is the list of methods that a recipe can name."""

from clipdistill.tasks.base import Task
from clipdistill.tasks.clip_kd import ClipKD
from clipdistill.tasks.contrastive import Contrastive
from clipdistill.tasks.lit import LockedTuning

TASKS: dict[str, type[Task]] = {"contrastive": Contrastive, "clip_kd": ClipKD, "lit": LockedTuning}

__all__ = ["TASKS", "ClipKD", "Contrastive", "LockedTuning", "Task"]
