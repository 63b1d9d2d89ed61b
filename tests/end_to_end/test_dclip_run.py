"""DCLIP from one recipe: regions, meta-teacher, its targets, student and control; stopped and taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command
from safetensors.torch import load_file

from clipdistill.engine.trainer import Trainer


@pytest.fixture
def dclip(world: Path, teacher: Path, tmp_path: Path) -> Path:
    """A recipe of four teacher steps and four student steps; overrides make the variants."""
    values: dict[str, Any] = {
        "name": "micro/dclip",
        "data": {
            "train": [
                {
                    "format": "karpathy",
                    "path": str(world / "dataset_petri.json"),
                    "split": "train",
                    "boxes": str(world / "annotations" / "detections_train.json"),
                    "categories": str(world / "annotations" / "instances_train.json"),
                }
            ],
            "augment": {"crop_scale": None},
            "workers": 0,
        },
        "student": str(teacher),
        "regions": {"provider": "annotations", "store": str(tmp_path / "regions"), "max_regions": 4},
        "teachers": [
            {"meta": {"task": {"method": "dclip_teacher", "heads": 4}, "train": {"epochs": 2, "batch_size": 24}}}
        ],
        "task": {"method": "dclip"},
        "train": {"epochs": 2, "batch_size": 24, "lr": 1e-3, "log_every": 1, "checkpoint_every": 1},
        "evaluate": [{"suite": "retrieval", "data": f"karpathy:{world / 'dataset_petri.json'}@test"}],
        "compare": ["base", "control"],
    }
    path = tmp_path / "dclip.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student" / "open_clip_model.safetensors")


def test_one_recipe_makes_regions_teacher_targets_student_and_report(
    command: Command, dclip: Path, tmp_path: Path, teacher: Path
) -> None:
    out = tmp_path / "run"
    said = command("train", dclip, "--out", out)
    assert said.code == 0, said.err[-3000:]
    assert (tmp_path / "regions" / "store.json").is_file()
    assert [p.name for p in sorted((out / "teacher" / "epochs").iterdir())] == ["1", "2"]
    found = json.loads((out / "evaluation.json").read_text())["models"]
    assert set(found) == {"base", "control", "student"}
    # Only the image tower moved: the text tower is the base's, bit for bit.
    base = load_file(teacher / "open_clip_model.safetensors")
    student, control = weights(out), weights(out / "control")
    text = [name for name in base if not name.startswith("visual.")]
    assert text and all(torch.equal(base[name], student[name]) for name in text)
    assert all(torch.equal(base[name], control[name]) for name in text)
    image = [name for name in base if name.startswith("visual.") and base[name].is_floating_point()]
    assert any(not torch.equal(base[name], student[name]) for name in image)
    assert any(not torch.equal(control[name], student[name]) for name in image)
    # The targets tell their captions better than the picture does, and the run says by how much.
    leak = json.loads((out / "teacher" / "targets.json").read_text())
    report = (out / "report.html").read_text()
    assert "Regions and targets" in report and "data:image/png" in report
    assert "Regions and targets" in (out / "report.md").read_text()
    assert leak["chance"] == pytest.approx(0.2) and 0 <= leak["target"]["same_picture"] <= 1


def test_an_earlier_epoch_of_another_runs_teacher_teaches(command: Command, dclip: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert command("train", dclip, "compare=[]", "evaluate=[]", "--out", first).code == 0
    taken = [f"teachers.0.meta.run={first / 'teacher'}", "compare=[]", "evaluate=[]"]
    said = command("train", dclip, *taken, "teachers.0.meta.epoch=1", "--out", second)
    assert said.code == 0, said.err[-3000:]
    assert not (second / "teacher" / "checkpoints").exists()
    assert any(not torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))
    complaint = command("train", dclip, *taken, "teachers.0.meta.epoch=7", "--out", tmp_path / "third").complaint()
    assert "has no epoch 7; it has 1, 2" in complaint


@pytest.mark.parametrize("stopped_at", [3, 6])
def test_stopped_anywhere_it_ends_with_the_same_bits(
    command: Command, dclip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    assert command("train", dclip, "compare=[]", "evaluate=[]", "--out", whole).code == 0
    step, count = Trainer.train_step, 0

    def failing(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        nonlocal count
        count += 1
        if count == stopped_at:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", failing)
        assert command("train", dclip, "compare=[]", "evaluate=[]", "--out", halved).code == 130
    said = command("train", dclip, "compare=[]", "evaluate=[]", "--out", halved, "--resume")
    assert said.code == 0, said.err[-3000:]
    one, other = weights(whole), weights(halved)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_mistakes_are_said_before_the_work(command: Command, dclip: Path, tmp_path: Path) -> None:
    def complaint(*overrides: str) -> str:
        return command("train", dclip, *overrides, "--out", tmp_path / "run").complaint()

    assert "`regions` is missing" in complaint("regions=null")
    assert "trains no meta-teacher" in complaint("teachers.0.meta.task.method=clip_kd")
    assert "`teachers.0.meta.epoch` is 9" in complaint("teachers.0.meta.epoch=9")
    assert "heads" in complaint("teachers.0.meta.task.heads=many")
    assert "provider" in complaint("regions.provider=yollo")
    assert not (tmp_path / "run").exists()


def test_a_study_runs_what_is_missing_and_reports_on_all(command: Command, dclip: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    said = command("study", dclip, "--seeds", "2", "--set", "train.max_steps=1", "--out", out)
    assert said.code == 0, said.err[-3000:]
    runs = [out / "micro/dclip" / f"seed-{k}" for k in (0, 1)]
    before = [(run / "evaluation.json").stat().st_mtime_ns for run in runs]
    assert (out / "report.md").is_file()
    assert command("study", dclip, "--seeds", "2", "--set", "train.max_steps=1", "--out", out).code == 0
    assert [(run / "evaluation.json").stat().st_mtime_ns for run in runs] == before
    assert "differ: train.max_steps" in command("study", dclip, "--seeds", "1", "--out", out).complaint()
