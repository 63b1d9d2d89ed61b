"""The Run: the folder a training leaves behind, and what lies where in it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clipdistill.engine.checkpoint import list_checkpoints
from clipdistill.errors import UserError
from clipdistill.files import write_json, write_text
from clipdistill.recipe import Recipe

PACKAGES = (
    "clipdistill",
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "transformers",
    "accelerate",
    "numpy",
    "pillow",
)


class RunFolder:
    """Paths inside a run, and the checks before anything is written into it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.environment = self.path / "environment.json"
        self.checkpoints = self.path / "checkpoints"
        self.student = self.path / "student"
        self.evaluation = self.path / "evaluation.json"
        self.examples = self.path / "examples.json"
        self.bad_samples = self.path / "bad_samples.jsonl"
        self.control = self.path / "control"

    def check(self, resume: bool) -> None:
        """Refuse a folder that can't be written, or that another run or somebody's files lie in.

        Raises:
            UserError: with what to do about it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path}: is a file; choose a folder")
        if self.recipe.is_file():
            if not resume:
                raise UserError(
                    f"--out {self.path}: holds a run already; add --resume to go on, or choose another folder"
                )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(f"--out {self.path}: holds other files; choose a new or empty folder")
        parent = self.path
        while not parent.exists():
            parent = parent.parent
        if not os.access(parent, os.W_OK):
            raise UserError(f"--out {self.path}: {parent} can't be written; choose another folder")

    def start(self, recipe: Recipe) -> None:
        """Make the folder and write the recipe as resolved, and what it runs on."""
        write_text(self.recipe, recipe.to_yaml())
        write_json(self.environment, environment(recipe.seed))
        self.bad_samples.touch()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return bool(list_checkpoints(self.checkpoints))


def environment(seed: int) -> dict[str, Any]:
    """Versions, machine and seed: what one needs to make the run again."""
    import torch

    return {
        "command": ["clipdistill", *sys.argv[1:]],
        "seed": seed,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
    }


def installed(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
