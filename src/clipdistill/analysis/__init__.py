"""Looking into models: what trained fusion models attend to, and which teacher will serve a student not trained yet."""

from clipdistill.analysis.analysing import analyse
from clipdistill.analysis.importance import ImportanceOptions
from clipdistill.analysis.ranking_teachers import rank_teachers

__all__ = ["ImportanceOptions", "analyse", "rank_teachers"]
