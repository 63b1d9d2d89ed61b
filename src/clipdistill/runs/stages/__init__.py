"""The stages of a run, a file each: caches, regions, fits, targets, export, evaluation, report."""

from __future__ import annotations

from clipdistill.runs.stages.base import Forecast, Stage
from clipdistill.runs.stages.cache import Cache
from clipdistill.runs.stages.evaluate import Evaluate
from clipdistill.runs.stages.export import Export
from clipdistill.runs.stages.fit import Fit
from clipdistill.runs.stages.regions import FindRegions
from clipdistill.runs.stages.report import Report
from clipdistill.runs.stages.targets import Targets

__all__ = ["Cache", "Evaluate", "Export", "FindRegions", "Fit", "Forecast", "Report", "Stage", "Targets"]
