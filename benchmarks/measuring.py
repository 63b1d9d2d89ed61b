"""What the benchmarks share: interleaved rounds, ratios with their spread, a small world to train on, and the output.

Only ratios are worth keeping. Both sides of one are timed in the same process, round by round in turn, so that
whatever else the machine does hits both; the ratio is taken within each round and the median is given with its range.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


def interleave(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each of `runs` once a round, starting with another one each time; return what they gave, by name.

    The first round warms up and isn't counted.
    """
    names = list(runs)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            value = runs[name]()
            if number > 0:
                found[name].append(value)
    return found


def summary(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratio(over: list[float], under: list[float]) -> dict[str, float]:
    """Median and range of the ratios within each round."""
    return summary([a / b for a, b in zip(over, under, strict=True)])


def machine(device: str) -> dict[str, Any]:
    """What the figures were taken on."""
    cuda = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def show(title: str, rows: list[tuple[str, dict[str, float], str]], facts: dict[str, Any], path: Path | None) -> None:
    """Print a table and the same as one JSON object; write the latter to `path` when there is one."""
    print(f"\n{title}")
    for name, value, unit in rows:
        print(f"  {name:58} {value['median']:>10,.3f}   ({value['least']:,.3f} to {value['most']:,.3f}) {unit}")
    content = {"benchmark": title, "results": {name: {**value, "unit": unit} for name, value, unit in rows}, **facts}
    text = json.dumps(content)
    print(text)
    if path is not None:
        path.write_text(text + "\n", encoding="utf-8")


@contextmanager
def small_world(images: int, image_size: int, formats: tuple[str, ...] = ("karpathy",)) -> Iterator[Path]:
    """A petri world in a temporary folder that goes away with the block."""
    from clipdistill.petri import write_world

    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        write_world(world, images=images, val=1, test=1, image_size=image_size, formats=formats)
        yield world


def recipe_for(world: Path, batch_size: int, method: str = "contrastive", **train: Any) -> Any:
    """A recipe with the settings that the Trainer looks at; constant rate, so that every step costs the same."""
    from clipdistill.recipe import Recipe

    return Recipe.model_validate(
        {
            "name": "benchmark",
            "data": {"train": [{"format": "karpathy", "path": str(world / "dataset_petri.json")}], "workers": 0},
            "student": "petri-student",
            "task": {"method": method},
            "train": {"epochs": 10_000, "batch_size": batch_size, "schedule": "constant", **train},
        }
    )


def clock(kind: str) -> Callable[[], float]:
    """`wall`, or `cpu`: the processor time of this process alone, which neighbours on a shared machine disturb less."""
    return time.process_time if kind == "cpu" else time.perf_counter


def peak_mb(device: str) -> float:
    """Peak memory in MB: what the GPU's allocator held since its counter was reset, else this process's.

    On Linux the latter is VmHWM, which begins anew with each program. `ru_maxrss` doesn't: a child starts with its
    parent's.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def wait(device: str) -> None:
    """Let an accelerator finish what was asked of it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
