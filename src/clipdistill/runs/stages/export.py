"""Export: the trained model as a folder that others open."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from clipdistill.kinds import kind_of
from clipdistill.runs.stages.base import Stage
from clipdistill.runs.stages.fit import Fit


class Export(Stage):
    """Write what a Fit trained, in each layout of its kind; the folder is there whole or not at all."""

    MAIN_ONLY = True

    def __init__(self, fit: Fit) -> None:
        self.fit = fit

    def done(self) -> bool:
        """Whether the folder is there."""
        return self.fit.result.is_dir()

    def run(self) -> None:
        """Save under another name, then rename."""
        folder: Path = self.fit.result
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        kind_of(self.fit.student).save(self.fit.student, temporary)
        os.replace(temporary, folder)
