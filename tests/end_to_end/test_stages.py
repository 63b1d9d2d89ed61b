"""A recipe with `stages:`: each training starts from what the one before left; a stranger's method among them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from conftest import Command
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import mse_loss

from clipdistill.engine.trainer import Trainer
from clipdistill.kinds import KINDS
from clipdistill.models import JoinedEncoder, create_model
from clipdistill.recipe import ModelSpec
from clipdistill.tasks.base import Batch, Features, Task, TaskOptions

STILL = 1e-30
"""A rate at which nothing moves."""


class ShrinkOptions(TaskOptions):
    """Options of `Shrink`."""

    length: float = 1.0


class Shrink(Task):
    """A second stage that no file of the package knows: embeddings get a length."""

    METHOD = "shrink"
    TERMS: ClassVar = {"length": 1.0}
    Options = ShrinkOptions

    def encode(self, batch: Batch) -> Features:
        return {"image": self.student.encode_image(batch["image/student"])}

    def batch_losses(self, features: Features) -> dict[str, Tensor]:
        found = features["image"].norm(dim=1)
        return {"length": mse_loss(found, torch.full_like(found, self.settings.length))}


@pytest.fixture
def staged(recipe: Path) -> Path:
    """The micro recipe of six steps in two stages, and a control."""
    sys.modules.setdefault("stages_of_a_stranger", sys.modules[__name__])
    values: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    values |= {
        "stages": [
            {"name": "align"},
            {
                "name": "shrink",
                "task": {"method": "stages_of_a_stranger:Shrink", "length": 2.0},
                "teachers": [],
                "train": {"epochs": 1},
            },
        ],
    }
    recipe.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return recipe


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "student" / "open_clip_model.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_stage_starts_from_what_the_one_before_left(command: Command, staged: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = command("train", staged, f"stages.1.train.lr={STILL}", "stages.1.train.weight_decay=0", "--out", out)
    assert said.code == 0, said.err[-3000:]
    first, last = weights(out / "stages" / "align"), weights(out)
    start = create_model("petri-tiny-student", seed=0).clip.state_dict()
    assert not all(torch.equal(start[name], first[name]) for name in first)
    assert all(
        torch.equal(first[name], last[name]) for name in first if "running" not in name and "batches" not in name
    )
    assert "loss/crd" in (out / "stages" / "align" / "metrics.jsonl").read_text()
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3 and all("loss/length" in line and "loss/crd" not in line for line in lines)


@pytest.mark.parametrize("stops", [(2, 5), (8,)])
def test_stopped_in_any_stage_it_ends_with_the_same_bits(
    command: Command, staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...]
) -> None:
    calm, halted, step, left = tmp_path / "calm", tmp_path / "halted", Trainer.train_step, 0
    assert command("train", staged, "--out", calm).code == 0

    def failing(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        nonlocal left
        left -= 1
        if left == 0:
            self._stop = True  # as a signal would
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", failing)
    for number, left in enumerate(stops):  # noqa: B007
        assert command("train", staged, "--out", halted, *(["--resume"] if number else [])).code == 130
    other = command("train", staged, "stages.1.task.length=3.0", "--out", halted, "--resume")
    assert "differ: stages" in other.complaint()
    assert command("train", staged, "--out", halted, "--resume").code == 0
    for part in ("", "stages/align"):
        assert same(weights(calm / part), weights(halted / part))


def test_mistakes_in_a_stage_are_one_line(command: Command, staged: Path, tmp_path: Path) -> None:
    def complaint(*overrides: str) -> str:
        return command("train", staged, *overrides, "--out", tmp_path / "run").complaint()

    assert "two of them are called 'align'" in complaint("stages.1.name=align")
    assert "`stages`: align: unknown key `train.epoch`" in complaint("stages.0.train={epoch: 1}")
    assert "models of different kinds" in complaint("stages.0={name: a, teachers: [], task: {method: diffusion}}")
    assert "lengthh" in complaint("stages.1.task.lengthh=1")
    assert not (tmp_path / "run").exists()


class Towers(JoinedEncoder):
    """A joined model that only notes what is locked."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.told: dict[str, bool] = {}

    def lock_towers(self, **which: bool) -> None:
        self.told = which


def test_a_later_stage_keeps_a_joined_students_towers_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS["dual_encoder"]
    monkeypatch.setattr(kind, "load", lambda *_: Towers())
    spec = ModelSpec(image_tower="resnet18", text_tower="bert", locked=["text"])
    assert kind.start_from(Path("stages/one/student"), spec).told == {"image": False, "text": True}
