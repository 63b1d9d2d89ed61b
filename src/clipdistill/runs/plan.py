"""The plan that `train` prints first: what will be trained on what, and what that will cost."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clipdistill.engine.forecast import DryTeacher, forward_flops, time_step
from clipdistill.evaluate.cost import model_cost
from clipdistill.files import require_space
from clipdistill.runs.meta_plan import MetaPlan, make_meta_plan
from clipdistill.runs.teachers import TeacherState
from clipdistill.runs.wiring import Parts
from clipdistill.stores import store_size_bytes


@dataclass(frozen=True)
class Plan:
    """A forecast: seconds and bytes are estimates from one step on this machine."""

    name: str
    data: dict[str, int]
    student: str
    parameters: int
    trainable: int
    teachers: list[str]
    terms: dict[str, float]
    steps: int
    batch_size: int
    seconds: float
    cache_seconds: float
    meta: MetaPlan
    memory_bytes: float
    disk_bytes: float
    flops_per_pair: float

    def show(self, console: Console) -> None:
        """Print the plan as a table."""
        table = Table(title=f"plan: {self.name}", show_header=False, title_justify="left")
        table.add_row("data", ", ".join(f"{name}: {count:,}" for name, count in self.data.items()))
        table.add_row("student", f"{self.student}, {self.parameters:,} parameters, {self.trainable:,} trainable in all")
        table.add_row("teacher", "; ".join(self.teachers) or "none")
        table.add_row("terms", ", ".join(f"{name} x {weight:g}" for name, weight in self.terms.items()))
        table.add_row("steps", f"{self.steps:,} of {self.batch_size:,} pairs")
        before = {
            "the teacher's store": self.cache_seconds, "regions": self.meta.regions,
            "the meta-teacher": self.meta.teacher, "its targets": self.meta.targets,
        }  # fmt: skip
        more = "".join(f" + {duration(seconds)} for {what}" for what, seconds in before.items() if seconds)
        table.add_row("time", f"about {duration(self.seconds)}{more}")
        table.add_row("memory", f"about {self.memory_bytes / 1e6:,.0f} MB a process")
        table.add_row("disk", f"about {self.disk_bytes / 1e6:,.0f} MB")
        console.print(table)


def make_plan(parts: Parts, out: Path, runs: int = 1) -> Plan:
    """Make the forecast: times one training step and, for a store to be written, one batch of the teacher.

    For a meta-teacher the regions of a few pictures, a step and a batch of its targets are timed too.

    Args:
        runs: trainings in all; 2 with a control.

    Raises:
        UserError: the disk that `out` lies on has less room than the run needs.
    """
    recipe, settings, device = parts.recipe, parts.recipe.train, parts.ranks.device
    teachers = [dry_teacher(state, parts.student) for state in parts.teachers]
    task = parts.make_task(teachers)
    loader = parts.make_loader()
    start = time.perf_counter()
    batch = next(iter(loader.epoch(0)))
    loading = time.perf_counter() - start
    if recipe.task.method == "lit" and teachers:
        task.teachers = (DryTowers(tower_widths(parts.student)),)
    step = time_step(task, batch, parts.ranks, settings)
    flops = forward_flops(task, batch, parts.ranks)
    parameters = sum(p.numel() for p in parts.student.parameters())
    steps = min(loader.steps_per_epoch * settings.epochs, settings.max_steps or math.inf)
    # With a worker, loading hides behind the step; without one it comes on top.
    seconds = (step["seconds"] + (0 if recipe.data.workers else loading)) * steps * runs
    trained = sum(t.parameter.numel() for t in task.trainable())
    images, captions = len(parts.mixture), caption_count(parts)
    views = parts.plan.count or 1
    stores = [s for s in parts.teachers if s.to_cache]
    cache_seconds = sum(caching_seconds(s, device) * (images * views) for s in stores)
    checkpoints = 12 * trained * (settings.keep_checkpoints + 1) * runs
    disk = checkpoints + 8 * parameters * runs
    disk += sum(store_size_bytes(images, views, captions, dim_of(s)) for s in stores)
    meta = make_meta_plan(parts, out, captions)
    disk += meta.disk_bytes
    require_space(out, disk, "the run", "--out")
    return Plan(
        name=recipe.name,
        data=parts.mixture.counts(),
        student=recipe.student.label,
        parameters=parameters,
        trainable=trained,
        teachers=[describe(state) for state in parts.teachers],
        terms=task.weights,
        steps=int(steps),
        batch_size=settings.batch_size,
        seconds=seconds,
        cache_seconds=cache_seconds,
        meta=meta,
        memory_bytes=max(step["memory_bytes"], meta.memory_bytes),
        disk_bytes=disk,
        flops_per_pair=flops,
    )


class DryTowers(DryTeacher):
    """Stands for the stored features of locked towers."""

    def __init__(self, width: Mapping[str, int]) -> None:
        super().__init__("towers", 0, 1.0)
        self.width = width

    def targets(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Noise as wide as the towers."""
        import torch

        size = len(batch["sample"])
        return {name: torch.randn(size, width, device=batch["sample"].device) for name, width in self.width.items()}


def tower_widths(student: Any) -> dict[str, int]:
    """Widths of a joined model's tower features."""
    import torch

    device = next(student.parameters()).device
    height, width = student.preprocess["size"]
    with torch.no_grad():
        image = student.image_tower_features(torch.zeros(1, 3, height, width, dtype=torch.uint8, device=device))
        text = student.text_tower_features(student.tokenizer(["a"]).to(device))
    return {"image": image.shape[1], "text": text.shape[1]}


def dry_teacher(state: TeacherState, student: Any) -> Any:
    """A stand-in with the teacher's width; a meta-teacher has that of the student it is made for.

    A diffusion model stands for itself: what it costs is the greater part of the step.
    """
    if state.is_diffusion:
        return state.model
    if state.spec.meta is not None:
        return DryTeacher(state.spec.label, int(student.embed_dim), student.logit_scale.item())
    if state.store is not None:
        return DryTeacher(state.spec.label, int(state.store.meta["embed_dim"]), float(state.store.logit_scale))
    return DryTeacher(state.spec.label, state.model.embed_dim, state.model.logit_scale.item())  # type: ignore[union-attr]


def dim_of(state: TeacherState) -> int:
    """Width of a teacher's embeddings."""
    return int(state.model.embed_dim)  # type: ignore[union-attr]


def describe(state: TeacherState) -> str:
    """A teacher and where its targets come from."""
    if state.spec.meta is not None:
        if state.spec.meta.run is not None:
            return f"{state.spec.label} of {state.spec.meta.run}"
        return f"{state.spec.label}, trained first for {state.spec.meta.train.epochs} epochs"
    if state.spec.store is None:
        return f"{state.spec.label}, live"
    return f"{state.spec.label}, store {state.spec.store}" + (" (to be written)" if state.to_cache else "")


def caching_seconds(state: TeacherState, device: Any) -> float:
    """Seconds a picture for one teacher, from one timed batch."""
    return 1 / model_cost(state.model, device=device, batch_size=8, repeats=1)["images_per_second"]


def caption_count(parts: Parts, sample: int = 200) -> int:
    """Captions in the mixture, from the first `sample` samples."""
    first = [len(parts.mixture[i].captions) for i in range(min(sample, len(parts.mixture)))]
    return round(sum(first) / len(first) * len(parts.mixture))


def duration(seconds: float) -> str:
    """`95` -> `1 min 35 s`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"
