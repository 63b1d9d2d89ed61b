"""The Run: the folder a training leaves behind, and what lies where in it."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from clipdistill.engine.checkpoint import list_checkpoints, require_same_recipe
from clipdistill.errors import UserError
from clipdistill.files import require_writable, write_json, write_text
from clipdistill.locks import hold
from clipdistill.recipe import Recipe
from clipdistill.yaml_files import parse_yaml

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

LOCK = ".lock"


class RunFolder:
    """Paths inside a run, and the checks before anything is written into it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.environment = self.path / "environment.json"
        self.checkpoints = self.path / "checkpoints"
        self.student = self.path / "student"
        self.epochs = self.path / "epochs"
        self.evaluation = self.path / "evaluation.json"
        self.examples = self.path / "examples.json"
        self.bad_samples = self.path / "bad_samples.jsonl"
        self.control = self.path / "control"

    def check(self, resume: bool, recipe: Recipe) -> None:
        """Refuse a folder that can't be written, that other files lie in, or a run that isn't this recipe's.

        Raises:
            UserError: with what to do about it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path}: is a file; choose a folder")
        if self.recipe.is_file():
            self._same_run(resume, recipe)
        elif self.path.is_dir() and any(each.name != LOCK and not _left(each) for each in self.path.iterdir()):
            raise UserError(f"--out {self.path}: holds other files; choose a new or empty folder")
        require_writable(self.path, "--out")

    def _same_run(self, resume: bool, recipe: Recipe) -> None:
        if not resume:
            raise UserError(f"--out {self.path}: holds a run already; add --resume to go on, or choose another folder")
        if self.has_progress:
            self._same_recipe(recipe)

    def _same_recipe(self, recipe: Recipe) -> None:
        try:
            old = parse_yaml(self.recipe.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"{self.recipe}: can't be read; choose another --out and start again") from error
        require_same_recipe(old if isinstance(old, dict) else {}, recipe.model_dump(mode="json"), self.path)

    @contextmanager
    def held(self, wanted: bool = True) -> Iterator[None]:
        """Keep other processes from running into the same folder; it is made.

        Args:
            wanted: whether this process is the one that holds it, of several that train together.

        Raises:
            UserError: another process has it.
        """
        if not wanted:
            yield
            return
        busy = f"--out {self.path}: another process is running into this folder; wait for it, or choose another folder"
        with hold(self.path / LOCK, busy, wait=False):
            yield

    def refuse_busy(self) -> None:
        """Raise a UserError when another process is running into the folder: known before any work begins."""
        if (self.path / LOCK).is_file():
            with self.held():
                pass

    def wait_until_free(self) -> None:
        """Wait while another process runs into the folder. For those to whom it is all one who makes the run."""
        with hold(self.path / LOCK, f"{self.path}: another process is running into this folder", wait=True):
            pass

    def begin(self, resume: bool, recipe: Recipe) -> None:
        """Make the folder this recipe's: what may change when a run is resumed is as it is now.

        Raises:
            UserError: another process ran into it, to the end, since `check`.
        """
        if self.recipe.is_file():
            self._same_run(resume, recipe)
        for left in [each for each in self.path.rglob(".*.tmp") if _left(each)]:
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        if not self.has_progress:
            self.start(recipe)
        elif self.recipe.read_text(encoding="utf-8") != recipe.to_yaml():
            write_text(self.recipe, recipe.to_yaml())

    @property
    def has_progress(self) -> bool:
        """Whether anything was trained in it: the student, whose checkpoints may be gone, a teacher, a stage."""
        made = (self.student, self.path / "teacher", self.path / "stages")
        return self.has_checkpoint or any(folder.is_dir() for folder in made)

    def start(self, recipe: Recipe) -> None:
        """Make the folder and write the recipe as resolved, and what it runs on."""
        write_text(self.recipe, recipe.to_yaml())
        write_json(self.environment, environment(recipe.seed))
        self.bad_samples.touch()

    def start_once(self, recipe: Recipe) -> None:
        """The same, leaving what is there: all of it, or what a killed process got to."""
        if not self.recipe.is_file():
            self.start(recipe)
        if not self.environment.is_file():
            write_json(self.environment, environment(recipe.seed))
        self.bad_samples.touch()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return bool(list_checkpoints(self.checkpoints))


def _left(path: Path) -> bool:
    """Whether that is half a file, or half a model, of a process that was killed as it wrote."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def trained_epoch(folder: Path, epoch: int | None) -> Path:
    """The folder of one epoch's model, of those that a training kept; the last one for None.

    Raises:
        UserError: it isn't there; says which are.
    """
    found = sorted(int(p.name) for p in (Path(folder) / "epochs").glob("*") if p.name.isdigit())
    if not found:
        raise UserError(f"{folder}: holds no trained meta-teacher; give RUN/teacher of a finished run")
    if epoch is not None and epoch not in found:
        raise UserError(f"{folder}: has no epoch {epoch}; it has {', '.join(map(str, found))}")
    return Path(folder) / "epochs" / str(epoch or found[-1])


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
