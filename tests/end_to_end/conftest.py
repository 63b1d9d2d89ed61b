"""Micro worlds, a micro teacher and the command line in this process: what every end-to-end test stands on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from clipdistill import cli
from clipdistill.export import save_student
from clipdistill.models import create_model
from clipdistill.petri import write_world


@dataclass(frozen=True)
class Said:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    def complaint(self) -> str:
        """The one line on stderr of a mistake; fails when it was none, or more than one line."""
        assert self.code == 2, (self.code, self.err[-2000:])
        lines = self.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("clipdistill: "), self.err[-2000:]
        return lines[0]


Command = Callable[..., Said]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 training pictures of 32 pixels in every format, 12 test pictures, one picture a zero-shot class."""
    folder = tmp_path_factory.mktemp("world") / "petri"
    write_world(folder, images=48, val=4, test=12, seed=0, image_size=32, zero_shot=1)
    return folder


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher folder: random weights will do where only the machinery is looked at; wider than the student."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    save_student(create_model("petri-student", seed=7), folder)
    return folder


@pytest.fixture
def recipe(world: Path, teacher: Path, tmp_path: Path) -> Path:
    """A recipe file of six steps with a stored teacher; overrides make the variants."""
    values = {
        "name": "micro",
        "data": {
            "train": [{"format": "karpathy", "path": str(world / "dataset_petri.json"), "split": "train"}],
            "augment": {"crop_scale": [0.5, 1.0], "views": 2},
            "workers": 0,
        },
        "student": "petri-tiny-student",
        "teachers": [{"model": str(teacher), "store": str(tmp_path / "store")}],
        "task": {"method": "clip_kd"},
        "train": {
            "epochs": 2, "batch_size": 16, "lr": 1.0e-3, "warmup_steps": 2,
            "log_every": 1, "checkpoint_every": 2, "keep_checkpoints": 2,
        },
        "compare": [],
    }  # fmt: skip
    path = tmp_path / "micro.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    """Run `clipdistill ...` in this process, in an empty working folder, offline."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    level = logging.getLogger().level

    def run(*arguments: object) -> Said:
        capfd.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        return Said(code, *capfd.readouterr())

    yield run
    logging.getLogger().setLevel(level)
