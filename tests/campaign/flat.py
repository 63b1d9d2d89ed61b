"""What a training holds after each epoch: memory, open files, threads, processes, shared memory. None of it grows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from clipdistill.engine.trainer import Trainer
from tests.campaign import forked
from tests.campaign.small_runs import Base, workers

STEPS_AN_EPOCH = 3
EXACT = ("files", "threads", "processes", "shm_files")
MEMORY = ("memory_mb", "workers_mb")
SLACK_MB = 12.0
"""What an allocator may take between the two halves of a run of some hundred epochs."""


def held() -> dict[str, float]:
    """What this process and its children hold now."""
    own = psutil.Process()
    children = own.children(recursive=True)
    links = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)]
    return {
        "memory_mb": own.memory_info().rss / 1e6,
        "workers_mb": sum(each.memory_info().rss for each in children) / 1e6,
        "files": len(links),
        "threads": own.num_threads() + sum(each.num_threads() for each in children),
        "processes": 1 + len(children),
        "shm_files": sum(link.startswith("/dev/shm") for link in links),
    }


def measure(base: Base, out: Path, epochs: int) -> list[dict[str, float]]:
    """Train that many epochs with two workers and note what is held at the end of each."""
    out.mkdir(parents=True)
    notes = out.with_name(out.name + ".held")
    (command,) = workers(base, out)
    steps = STEPS_AN_EPOCH * epochs
    command = [*command, "train.epochs=100000", f"train.max_steps={steps}", "train.checkpoint_every=50"]
    ended = forked.run([command], out, before=lambda: _note_epochs(notes), limit=3600)
    assert ended.code == 0, ended.said[-2000:]
    return [json.loads(line) for line in notes.read_text().splitlines()]


def grown(found: list[dict[str, float]]) -> list[str]:
    """What is more in the second half of the epochs than in the first, which has a tenth to get going."""
    half, begun = found[len(found) // 2 :], found[len(found) // 10 : len(found) // 2]
    wrong = []
    for name in (*EXACT, *MEMORY):
        before, after = (max(each[name] for each in part) for part in (begun, half))
        if after > before + (SLACK_MB if name in MEMORY else 0):
            wrong.append(f"{name} grows from {before:g} to {after:g}")
    return wrong


def _note_epochs(notes: Path) -> None:
    step = Trainer.train_step

    def noted(self: Trainer, batch: Mapping[str, Any]) -> dict[str, float]:
        values = step(self, batch)
        if self.step % STEPS_AN_EPOCH == 0:
            with open(notes, "a") as file:
                file.write(json.dumps(held()) + "\n")
        return values

    Trainer.train_step = noted  # type: ignore[method-assign]


def _is_open(name: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{name}")
