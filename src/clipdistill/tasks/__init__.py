"""Tasks: one file a method. `TASKS` is the list of methods that a recipe can name."""

from clipdistill.tasks.base import Task
from clipdistill.tasks.clip_kd import ClipKD
from clipdistill.tasks.contrastive import Contrastive
from clipdistill.tasks.dclip import DCLIP
from clipdistill.tasks.dclip_teacher import DCLIPTeacher
from clipdistill.tasks.diffusion import DiffusionTraining
from clipdistill.tasks.lit import LockedTuning
from clipdistill.tasks.sds_clip import SDSCLIP

TASKS: dict[str, type[Task]] = {
    "contrastive": Contrastive,
    "clip_kd": ClipKD,
    "dclip": DCLIP,
    "dclip_teacher": DCLIPTeacher,
    "diffusion": DiffusionTraining,
    "lit": LockedTuning,
    "sds_clip": SDSCLIP,
}

__all__ = [
    "DCLIP", "SDSCLIP", "TASKS", "ClipKD", "Contrastive", "DCLIPTeacher", "DiffusionTraining", "LockedTuning", "Task",
]  # fmt: skip
