"""Trained models as folders that are there whole or not at all: the last one, and that of every epoch."""

from __future__ import annotations

import os
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

from clipdistill.engine.checkpoint import list_checkpoints, read_checkpoint, step_of
from clipdistill.errors import UserError
from clipdistill.files import make_durable, one_line
from clipdistill.kinds import kind_of
from clipdistill.runs.folder import RunFolder


def save_whole(model: Any, folder: Path) -> None:
    """Save a model, in each layout of its kind, under another name, then rename."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with one_line(folder):
        kind_of(model).save(model, temporary)
        make_durable(temporary)
        os.replace(temporary, folder)


def keep_epochs(folder: RunFolder, student: Any, steps_per_epoch: int, last: int, step: int | None = None) -> None:
    """Turn checkpoints at the end of an epoch into folders of models, `epochs/N`, where they aren't there yet.

    Args:
        student: the model that is trained; it isn't touched.
        last: step of the training's end, which may come within its last epoch.
        step: the one that was made; None = look at all checkpoints that there are.
    """
    if step is not None and step % steps_per_epoch and step != last:
        return
    for path in list_checkpoints(folder.checkpoints):
        at = step_of(path)
        place = folder.epochs / str(-(-at // steps_per_epoch))
        if at % steps_per_epoch and at != last or place.is_dir():
            continue
        try:
            state = read_checkpoint(path)
        except UserError:
            if step is not None:
                raise
            continue  # a resumed training goes on from one before it, and makes this epoch again
        prefix = "student."
        weights = {k.removeprefix(prefix): v for k, v in state["task"].items() if k.startswith(prefix)}
        model = deepcopy(student)
        model.load_state_dict(state["average"] or weights)  # the average is what `train.ema` asks for
        save_whole(model.eval(), place)
