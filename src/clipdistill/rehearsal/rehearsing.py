"""`clipdistill train RECIPE --rehearse`: does every stage of a run get to its end, and what will the real one take?"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import Interrupted, UserError
from clipdistill.files import require_writable, write_json, write_text
from clipdistill.recipe import Recipe
from clipdistill.rehearsal.measuring import Measured, Measuring, Stopped, fresh_peak
from clipdistill.rehearsal.scaling import Scaled, scale, unknown_sizes
from clipdistill.rehearsal.showing import show
from clipdistill.rehearsal.smaller import smaller_recipe
from clipdistill.rehearsal.standing_in import write_models
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.evaluation import check_suites
from clipdistill.runs.training import train

RUN, RECIPE, RESULT = "run", "recipe.yaml", "rehearsal.json"
SHARE = 0.75
"""Of the memory that is free, what a rehearsal may take unless it is told."""
MOST_TRIES = 40
"""Above the trainings that any recipe has: each is stopped once."""


@dataclass
class Rehearsal:
    """How a rehearsal went.

    Attributes:
        recipe: the name. seconds: in all. stages: label -> what it took, in order. real: label -> what it will take.
        notes: what differed from the recipe besides numbers. failed: (stage, reason) of what didn't get to its end.
    """

    recipe: str
    seconds: float = 0.0
    stages: dict[str, Measured] = field(default_factory=dict)
    real: dict[str, Scaled] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: tuple[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As rehearsal.json has it: seconds and bytes."""
        rows = []
        for label, one in self.stages.items():
            real = self.real.get(label)
            row = {"stage": label, "seconds": one.seconds, "memory_bytes": one.memory, "disk_bytes": one.disk}
            told = None if real is None else {
                "seconds": real.seconds, "memory_bytes": real.memory, "disk_bytes": real.disk,
            }  # fmt: skip
            rows.append({**row, "resumed": one.resumed, "real": told})
        failed = None if self.failed is None else {"stage": self.failed[0], "reason": self.failed[1]}
        return {"recipe": self.recipe, "seconds": self.seconds, "stages": rows, "notes": self.notes, "failed": failed}


def rehearse(
    recipe: Recipe, out: str | Path | None = None, *, memory: float | None = None, console: Console | None = None
) -> Rehearsal:
    """Run a recipe end to end with random weights of its models' architectures and a few synthetic samples.

    Each data source is replaced by one of the same format and options, each model of the hub by one of the same shape.
    Every training makes two steps, is stopped after the first and resumed; then come control, export, evaluation and
    report. The current folder is another one meanwhile, since all that a recipe names by a relative path lies in it.

    Args:
        out: a new or empty folder, which keeps all that was made; None = a temporary one.
        memory: gigabytes that it may take; larger models are made smaller, which the notes say. None = 75 % of what
            is free.
        console: where the table goes; None = nowhere.

    Returns:
        What each stage took, and what failed if anything did.

    Raises:
        UserError: a recipe that is wrong before anything is opened, or that can't be rehearsed, in one line.
    """
    ranks = Ranks.current()
    if ranks.world_size > 1:
        raise UserError("--rehearse: runs in one process; start it without torchrun or accelerate launch")
    check_recipe(recipe)
    check_suites(recipe)
    if out is not None:
        _require_empty(Path(out))
    limit = memory * 1e9 if memory is not None else SHARE * _free(ranks.device)
    home = Path.cwd()
    place: AbstractContextManager[str] = (
        nullcontext(str(Path(out).absolute())) if out is not None else tempfile.TemporaryDirectory()
    )
    with place as folder:
        with _within(Path(folder)):
            found, measuring = _rehearse(recipe, home, limit, ranks)
        if found.failed is None:
            found.real = scale(recipe, measuring)
            found.notes += unknown_sizes(recipe)
        write_json(Path(folder) / RESULT, found.to_dict())
    if console is not None:
        show(found.to_dict(), console)
    return found


def _rehearse(recipe: Recipe, home: Path, limit: float, ranks: Ranks) -> tuple[Rehearsal, Measuring]:
    began, found = time.perf_counter(), Rehearsal(recipe.name)
    small, found.notes = smaller_recipe(recipe, home)
    write_text(RECIPE, small.to_yaml())
    found.notes += write_models(small, limit)
    fresh_peak(ranks.device)
    measuring = Measuring(Path.cwd(), ranks.device)
    found.failed = _tries(small, measuring)
    found.stages = {label: one for label, one in measuring.found.items() if one.seconds}
    found.seconds = time.perf_counter() - began
    return found, measuring


def _tries(recipe: Recipe, measuring: Measuring) -> tuple[str, str] | None:
    """Train until nothing stops it; (stage, reason) when something went wrong."""
    for _ in range(MOST_TRIES):
        try:
            train(recipe, RUN, resume=True, watcher=measuring)
        except Stopped:
            measuring.again()
            continue
        except Interrupted:  # a signal: whoever sent it means the rehearsal
            raise
        except Exception as error:
            measuring.note()
            return measuring.now, _line(error)
        return None
    return measuring.now, "it is stopped again and again"


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"[:500]


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: a rehearsal needs a new or empty folder; choose another one")
    require_writable(out, "--out")


def _free(device: Any) -> float:
    """Bytes of memory that are free: of the GPU, or the machine's."""
    if device.type == "cuda":
        import torch

        return float(torch.cuda.mem_get_info(device)[0])
    import psutil

    return float(psutil.virtual_memory().available)


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    """Make `folder` the current one for a while, and that in which the library of data sets keeps its copies."""
    from datasets import config

    home, kept = Path.cwd(), config.HF_DATASETS_CACHE
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    config.HF_DATASETS_CACHE = folder / "cache"
    try:
        yield
    finally:
        os.chdir(home)
        config.HF_DATASETS_CACHE = kept
