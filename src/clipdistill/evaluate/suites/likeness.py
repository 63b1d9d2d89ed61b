"""The suite `likeness`: how alike a model and its teacher see pictures, beside whatever else is measured of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from clipdistill.errors import UserError
from clipdistill.evaluate.likeness.comparing import (
    compare_models,
    different_pictures,
    drawn_rows,
    same_depth,
    spread_of,
)
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.sources import Subset, left_out, open_sources, some_of
from clipdistill.evaluate.suites.base import Data, Job, Suite, SuiteOptions, Trial
from clipdistill.models.image_layers import Pooling

SPREAD = ("alignment", "image_uniformity", "text_uniformity")


class LikenessOptions(SuiteOptions):
    """Options of the suite `likeness`."""

    name: str | None = None
    """what reports call the data; none = the source's name"""
    count: int | None = Field(None, ge=4)
    """so many different pictures, drawn, the same ones every time; give data sets to compare as many; none = all"""
    pool: Literal["mean", "flat", "none"] = "mean"
    """how a layer's patches become one vector, as in `clipdistill cka`; `none`: the embeddings alone"""
    batch: int = Field(512, ge=4)
    """pictures that are compared all with all; of more, sums are taken over batches"""


class Likeness(Suite[LikenessOptions, dict[str, Any]]):
    """Linear CKA between a model and its teacher: embeddings, layers; alignment and uniformity of each"""

    NAME = "likeness"
    BESIDE_TEACHER: ClassVar[bool] = True
    Options = LikenessOptions

    def open(self, data: Data, options: LikenessOptions) -> dict[str, Any]:
        """Sources with as many different pictures as are asked for."""
        sources = open_sources(data, options.name)
        for name, source in sources.items():
            found = len(different_pictures(source))
            if found < (options.count or 4):
                raise UserError(f"count: {options.count or 4} pictures, but {name} has {found} different ones")
        return sources

    def sources(self, opened: dict[str, Any]) -> dict[str, Any]:
        """As opened."""
        return opened

    def trial(self, opened: dict[str, Any], options: LikenessOptions, kind: str, most: int) -> Trial:
        """Some pictures of each source."""
        parts = {name: some_of(source, max(4, most)) for name, source in opened.items()}
        asked = [min(len(source), options.count or len(source)) for source in opened.values()]
        few = options.model_copy(update={"count": None})
        return Trial(parts, few, larger=sum(asked) / sum(map(len, parts.values())), pictures=sum(asked))

    def run(self, job: Job, opened: dict[str, Any], options: LikenessOptions) -> list[Result]:
        """A result a source and teacher; of a model that is itself a teacher, what needs no other."""
        results = []
        for name, source in opened.items():
            if any(job.model is teacher for teacher in job.teachers.values()):
                results.append(_alone(job, name, source, options))
                continue
            for role, teacher in job.teachers.items():
                title = name if len(job.teachers) == 1 else f"{name}, {role}"
                results.append(_beside(job, title, source, teacher, options))
        return results


def _beside(job: Job, name: str, source: Any, teacher: Any, options: LikenessOptions) -> Result:
    pool, why = _pooling((job.model, teacher), options)
    found = compare_models(
        teacher, job.model, source, count=options.count, pool=pool,
        batch=options.batch, workers=job.workers, device=job.device, progress=job.progress,
    )  # fmt: skip
    layers, others = (len(found[role]["layers"]) for role in ("student", "teacher"))
    value = found["cka"]["value"]
    metrics = {"cka": value[-1][-1], "cka_unit": found["unit"]["value"][-1][-1]}
    pairs = [(row, same_depth(row, layers, others)) for row in range(layers)]
    if layers and others:
        metrics["cka_before_last"] = value[found["student"]["before_last"]][found["teacher"]["before_last"]]
        metrics["cka_layers"] = sum(value[row][column] for row, column in pairs) / layers
    artifacts = {
        "teacher": found["teacher"]["name"], "batches": found["batches"], "settings": found["settings"],
        "interval": [_finite(found["cka"][side][-1][-1]) for side in ("low", "high")], "bad": found["left_out"],
        "layers": [
            {"layer": found["student"]["layers"][row]["name"], "teacher": found["teacher"]["layers"][column]["name"],
             **{side: _finite(found["cka"][side][row][column]) for side in ("value", "low", "high")}}
            for row, column in pairs
        ],
    }  # fmt: skip
    if why:
        artifacts["no_layers"] = why
    metrics |= _spread(found["spread"], "student")
    return Result("likeness", name, found["images"], _known(metrics), artifacts)


def _pooling(models: tuple[Any, Any], options: LikenessOptions) -> tuple[Pooling | None, str]:
    """How layers are pooled; None, and why, where a tower gives none: a run isn't lost for what can't be compared."""
    if options.pool == "none":
        return None, ""
    try:
        for model in models:
            model.map_levels()
    except UserError as error:
        return None, str(error)
    return options.pool, ""


def _alone(job: Job, name: str, source: Any, options: LikenessOptions) -> Result:
    part = Subset(source, drawn_rows(source, options.count))
    embedded = job.images(part)
    captions = [part[row].captions for row in embedded.positions.tolist()]
    found = spread_of({"own": (job.model, embedded.features)}, captions, torch.device(job.device))
    bad = left_out(source, embedded.bad)
    return Result("likeness", name, len(captions), _known(_spread(found, "own")), {"bad": bad})


def _spread(found: Mapping[str, Any] | None, role: str) -> dict[str, float]:
    return {} if found is None else {key: float(found[role][key]) for key in SPREAD}


def _known(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without what is undefined: features that don't vary have no CKA."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
