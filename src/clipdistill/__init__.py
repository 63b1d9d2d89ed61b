"""Knowledge distillation into and out of CLIP-style models.

What the command does is a function here: `load_recipe`, `recipe_names`, `train`, `cache`, `evaluate_model`,
`score_answers_file`, `build_report`, `write_world`, `mitigate_vcr`, `vcr_bias`, `analyse`, `model_cka`,
`rank_teachers`, `rehearse`, `quickstart`, `doctor`; `load_model` opens whatever a command takes as MODEL,
`embed_images` and `embed_texts` are what is asked of it most.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from clipdistill.analysis import analyse, rank_teachers
    from clipdistill.analysis.likeness import model_cka
    from clipdistill.evaluate.at_hand import embed_images, embed_texts
    from clipdistill.evaluate.vlm import score_answers_file
    from clipdistill.mitigate import mitigate_vcr, vcr_bias
    from clipdistill.models import load_model
    from clipdistill.petri import write_world
    from clipdistill.recipe_files import load_recipe, recipe_names
    from clipdistill.rehearsal import rehearse
    from clipdistill.report import build_report
    from clipdistill.runs.caching import cache
    from clipdistill.runs.doctor import doctor
    from clipdistill.runs.evaluation import evaluate_model
    from clipdistill.runs.interpolation import interpolate
    from clipdistill.runs.quickstart import quickstart
    from clipdistill.runs.study import study
    from clipdistill.runs.training import train

__all__ = [
    "analyse",
    "build_report",
    "cache",
    "doctor",
    "embed_images",
    "embed_texts",
    "evaluate_model",
    "interpolate",
    "load_model",
    "load_recipe",
    "mitigate_vcr",
    "model_cka",
    "quickstart",
    "rank_teachers",
    "recipe_names",
    "rehearse",
    "score_answers_file",
    "study",
    "train",
    "vcr_bias",
    "write_world",
]

_HOMES = {
    "analyse": "analysis",
    "build_report": "report",
    "cache": "runs.caching",
    "doctor": "runs.doctor",
    "embed_images": "evaluate.at_hand",
    "embed_texts": "evaluate.at_hand",
    "evaluate_model": "runs.evaluation",
    "interpolate": "runs.interpolation",
    "load_model": "models",
    "load_recipe": "recipe_files",
    "mitigate_vcr": "mitigate",
    "model_cka": "analysis.likeness",
    "quickstart": "runs.quickstart",
    "rank_teachers": "analysis",
    "recipe_names": "recipe_files",
    "rehearse": "rehearsal",
    "score_answers_file": "evaluate.vlm",
    "study": "runs.study",
    "train": "runs.training",
    "vcr_bias": "mitigate",
    "write_world": "petri",
}


def __getattr__(name: str) -> Any:
    # Found on first use, so that `clipdistill --help` doesn't wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
