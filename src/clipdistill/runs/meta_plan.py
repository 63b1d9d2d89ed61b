"""The plan's share of a meta-teacher: what its regions, its training and its targets will cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipdistill.engine.forecast import no_trace, time_step
from clipdistill.errors import UserError
from clipdistill.models.regions import open_provider
from clipdistill.models.token_embeddings import token_embeddings
from clipdistill.recipe import MetaSpec
from clipdistill.runs.meta_teacher import ANNOTATIONS, max_regions, meta_loader, meta_task, taken_teacher
from clipdistill.runs.wiring import Parts
from clipdistill.stores.encoder import evaluating
from clipdistill.stores.region_crops import Crops

PICTURES = 8
"""Pictures whose regions are found to time it."""


@dataclass(frozen=True)
class MetaPlan:
    """Estimates in seconds and bytes; 0 for what is there already."""

    regions: float = 0.0
    teacher: float = 0.0
    targets: float = 0.0
    memory_bytes: float = 0.0
    disk_bytes: float = 0.0


def make_meta_plan(parts: Parts, out: Path, captions: int) -> MetaPlan:
    """Time the regions of a few pictures, a step of the teacher, and the targets of a batch of captions.

    Args:
        out: the run's folder: what a stopped run has done costs nothing more.
        captions: of the whole data.

    Raises:
        UserError: the teacher's batch is larger than the data; a provider without its weights; a teacher on another
            base.
    """
    metas = {state.index: state.spec.meta for state in parts.teachers if state.spec.meta is not None}
    spec = parts.recipe.regions
    if not metas or spec is None:
        return MetaPlan()
    ((index, meta),) = metas.items()
    width, samples = int(parts.student.embed_dim), len(parts.mixture)
    taken_teacher(meta, parts.student)  # a wrong one is known now rather than after the regions
    if meta.run is None and meta.train.batch_size > samples:
        raise UserError(
            f"`teachers.{index}.meta.train.batch_size` is {meta.train.batch_size} and the data has {samples} samples; "
            "lower it"
        )
    share = 1 / parts.ranks.world_size
    regions = 0.0 if (spec.store / "store.json").is_file() else region_seconds(parts) * samples * share
    step, steps, target, moments = _teacher(parts, meta)
    done = meta.run is not None or (out / "teacher" / "epochs" / str(meta.train.epochs) / "meta_teacher.json").is_file()
    there = (out / "teacher" / "targets" / "store.json").is_file()
    return MetaPlan(
        regions=regions,
        teacher=0.0 if done else step["seconds"] * steps,
        targets=0.0 if there else target * captions * share,
        memory_bytes=step["memory_bytes"],
        disk_bytes=(0 if there else captions * 4 * width)  # two rows of half precision a caption
        + (0 if done else moments * (meta.train.epochs + 1))
        + (0 if regions == 0 else samples * max_regions(parts.recipe) * (2 * width + 24)),
    )


def region_seconds(parts: Parts) -> float:
    """Seconds a picture, found and embedded, by the code that will do it, with the student as it starts."""
    spec, model, device = parts.recipe.regions, parts.student, parts.ranks.device
    assert spec is not None
    try:
        provider = None
        if spec.provider != ANNOTATIONS:
            provider = open_provider({"provider": spec.provider, **spec.options()}, str(device))
    except UserError as error:
        raise UserError(f"`regions`: {error}") from error
    count = min(PICTURES, len(parts.mixture))
    crops = Crops(model, device, provider, spec.min_score, spec.max_regions, spec.crop, 128, count)
    with evaluating(model):
        crops.of(parts.mixture, range(1))
        seconds = _seconds(lambda: crops.of(parts.mixture, range(count)), device)
    return seconds / count


class DryRegions:
    """Regions that nobody has found yet, of the right shape, and captions read by the frozen model for real."""

    def __init__(self, base: Any, regions: int) -> None:
        self._base, self._regions = base, regions
        self.name, self.embed_dim, self.logit_scale = base.name, int(base.embed_dim), base.logit_scale.item()

    @torch.no_grad()
    def targets(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """As `RegionInputs.targets`."""
        size, device = (len(batch["sample"]), self._regions), batch["sample"].device
        text, tokens, mask = token_embeddings(self._base, batch["text/teacher0"])
        return {
            "regions": torch.randn(*size, self.embed_dim, device=device),
            "region_mask": torch.ones(size, dtype=torch.bool, device=device),
            "region_scores": torch.rand(size, device=device),
            "region_areas": torch.rand(size, device=device),
            "tokens": tokens.float(), "token_mask": mask, "text": text.float(),
        }  # fmt: skip


def _teacher(parts: Parts, meta: MetaSpec) -> tuple[dict[str, float], int, float, int]:
    """A step's time and memory, how many there are, seconds a caption of the targets, bytes of a checkpoint."""
    settings, device = meta.train, parts.ranks.device
    size = min(settings.batch_size, len(parts.mixture))
    loader = meta_loader(parts, parts.student, size)
    batch = {k: v.to(device) for k, v in next(iter(loader.epoch(0))).items() if isinstance(v, Tensor)}
    with evaluating(parts.student):
        task = meta_task(parts, meta, DryRegions(parts.student, max_regions(parts.recipe)))
        step = {"seconds": 0.0, "memory_bytes": 0.0}
        if meta.run is None:
            step = time_step(task, batch, parts.ranks, settings)
        with no_trace(task, device), torch.no_grad():
            task.encode(batch)
            seconds = _seconds(lambda: task.encode(batch), device)
    steps = min(loader.steps_per_epoch * settings.epochs, settings.max_steps or math.inf)
    trained = 12 * sum(item.parameter.numel() for item in task.trainable())
    return step, int(steps), seconds / len(batch["sample"]), trained


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
