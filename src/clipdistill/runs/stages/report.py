"""The report of a run."""

from __future__ import annotations

from clipdistill.report import build_report
from clipdistill.runs.folder import RunFolder
from clipdistill.runs.stages.base import Stage


class Report(Stage):
    """Write report.md and report.html from what the run's folder holds."""

    MAIN_ONLY = True

    def __init__(self, run: RunFolder) -> None:
        self.run_folder = run

    def done(self) -> bool:
        """Whether it is there, and no older than the numbers in it."""
        page, numbers = self.run_folder.path / "report.html", self.run_folder.evaluation
        return page.is_file() and page.stat().st_mtime_ns >= numbers.stat().st_mtime_ns

    def run(self) -> None:
        """Build it."""
        build_report([self.run_folder.path], self.run_folder.path)
