"""Tasks: one file a method. `TASKS` holds those of this package by the names that a recipe gives them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from clipdistill.errors import UserError, nearest
from clipdistill.tasks.base import Task
from clipdistill.tasks.clip_kd import ClipKD
from clipdistill.tasks.contrastive import Contrastive
from clipdistill.tasks.dclip import DCLIP
from clipdistill.tasks.dclip_teacher import DCLIPTeacher
from clipdistill.tasks.diffusion import DiffusionTraining
from clipdistill.tasks.lit import LockedTuning
from clipdistill.tasks.sds_clip import SDSCLIP


def _found() -> dict[str, type[Task]]:
    """Every Task with a `METHOD` of its own in a module of this package: a new method needs a file and nothing else."""
    found: dict[str, type[Task]] = {}
    for module in iter_modules(__path__, f"{__name__}."):
        for each in vars(import_module(module.name)).values():
            own = isinstance(each, type) and issubclass(each, Task) and each.__module__ == module.name
            if own and "METHOD" in vars(each):
                found[each.METHOD] = each
    return dict(sorted(found.items()))


TASKS: dict[str, type[Task]] = _found()


def find_task(method: str) -> type[Task]:
    """The task that a recipe's `task.method` names: one of `TASKS`, or `package.module:Class` of anyone's.

    Raises:
        UserError: there is none.
    """
    if method in TASKS:
        return TASKS[method]
    module, colon, name = method.partition(":")
    if not colon:
        raise UserError(
            f"`task.method`: no method {method!r}.{nearest(method, TASKS)} Methods: {', '.join(TASKS)}, or "
            "module:Class for one of your own."
        )
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"`task.method`: {method!r} can't be imported ({error}); put its module on PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UserError(f"`task.method`: {method!r} is not a subclass of clipdistill.tasks.Task")
    return found


__all__ = [
    "DCLIP", "SDSCLIP", "TASKS", "ClipKD", "Contrastive", "DCLIPTeacher", "DiffusionTraining", "LockedTuning", "Task",
    "find_task",
]  # fmt: skip
