"""Tasks: one file a method. `TASKS` is the list of methods that a recipe can name."""

from clipdistill.tasks.base import Task
from clipdistill.tasks.clip_kd import ClipKD
from clipdistill.tasks.contrastive import Contrastive
from clipdistill.tasks.dclip import DCLIP
from clipdistill.tasks.dclip_teacher import DCLIPTeacher
from clipdistill.tasks.lit import LockedTuning

TASKS: dict[str, type[Task]] = {
    "contrastive": Contrastive,
    "clip_kd": ClipKD,
    "dclip": DCLIP,
    "dclip_teacher": DCLIPTeacher,
    "lit": LockedTuning,
}

__all__ = ["DCLIP", "TASKS", "ClipKD", "Contrastive", "DCLIPTeacher", "LockedTuning", "Task"]
