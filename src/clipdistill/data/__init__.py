"""Data: sources of many formats, mixtures of them, replayable augmentation and batches."""

from clipdistill.data.loader import Loader, evaluation_batches
from clipdistill.data.mixture import Mixture
from clipdistill.data.sample import BadImage, ImageRef, Regions, Sample
from clipdistill.data.sources import FORMATS, Source, guess_format, open_source, parse_shorthand
from clipdistill.data.transforms import AugmentPlan, AugmentRecord, ImageView, apply

__all__ = [
    "FORMATS",
    "AugmentPlan",
    "AugmentRecord",
    "BadImage",
    "ImageRef",
    "ImageView",
    "Loader",
    "Mixture",
    "Regions",
    "Sample",
    "Source",
    "apply",
    "evaluation_batches",
    "guess_format",
    "open_source",
    "parse_shorthand",
]
