"""What trained fusion models attend to: modality importance, words, and what answers lose without a modality."""

from clipdistill.analysis.analysing import analyse
from clipdistill.analysis.importance import ImportanceOptions

__all__ = ["ImportanceOptions", "analyse"]
