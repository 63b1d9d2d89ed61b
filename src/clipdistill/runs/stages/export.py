"""Export: the trained model as a folder that others open."""

from __future__ import annotations

from clipdistill.runs.stages.base import Stage
from clipdistill.runs.stages.fit import Fit
from clipdistill.runs.stages.model_folders import save_whole


class Export(Stage):
    """Write what a Fit trained, in each layout of its kind; the folder is there whole or not at all."""

    MAIN_ONLY = True

    def __init__(self, fit: Fit) -> None:
        self.fit = fit

    @property
    def label(self) -> str:
        """What it is called where stages are listed."""
        return f"export of {self.fit.label}"

    def done(self) -> bool:
        """Whether the folder is there."""
        return self.fit.result.is_dir()

    def run(self) -> None:
        """Save what was trained."""
        save_whole(self.fit.student, self.fit.result)
