"""DCLIP from one recipe: regions, meta-teacher, its targets, student and control; stopped and taken up again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command
from safetensors.torch import load_file

from clipdistill.engine.trainer import Trainer
from clipdistill.export import save_student
from clipdistill.kinds import KINDS
from clipdistill.models import create_model
from clipdistill.models.meta_teacher import MetaTeacher
from clipdistill.recipe_files import load_recipe
from clipdistill.runs.training import train
from clipdistill.stores import TeacherStore


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What students and meta-teacher start from."""
    folder = tmp_path_factory.mktemp("base") / "base"
    save_student(create_model("petri-tiny-student", seed=7), folder)
    return folder


@pytest.fixture(scope="module")
def dclip(world: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of four teacher steps and four student steps; overrides make the variants. Regions are shared."""
    folder = tmp_path_factory.mktemp("dclip")
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
                    "count": 16,
                }
            ],
            "seed": 0,
            "augment": {"crop_scale": None},
            "workers": 0,
        },
        "student": str(base),
        "regions": {"provider": "annotations", "store": str(folder / "regions"), "max_regions": 4},
        "teachers": [
            {"meta": {"task": {"method": "dclip_teacher", "heads": 4}, "train": {"epochs": 2, "batch_size": 8}}}
        ],
        "task": {"method": "dclip"},
        "train": {"epochs": 2, "batch_size": 8, "lr": 1e-3, "log_every": 1, "checkpoint_every": 1},
        "evaluate": [{"suite": "retrieval", "data": f"karpathy:{world / 'dataset_petri.json'}@test"}],
        "compare": ["base", "control"],
    }
    path = folder / "dclip.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(dclip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's run, which several tests look at or go on from."""
    run = train(load_recipe(str(dclip)), tmp_path_factory.mktemp("finished") / "run")
    assert run is not None
    return run.path


ALONE = ("compare=[]", "evaluate=[]")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student" / "open_clip_model.safetensors")


def test_one_recipe_makes_regions_teacher_targets_student_and_report(dclip: Path, finished: Path, base: Path) -> None:
    assert (dclip.parent / "regions" / "store.json").is_file()
    assert [p.name for p in sorted((finished / "teacher" / "epochs").iterdir())] == ["1", "2"]
    found = json.loads((finished / "evaluation.json").read_text())["models"]
    assert set(found) == {"base", "control", "student"}
    # Only the image tower moved: the text tower is the base's, bit for bit.
    before = load_file(base / "open_clip_model.safetensors")
    student, control = weights(finished), weights(finished / "control")
    text = [name for name in before if not name.startswith("visual.")]
    assert text and all(torch.equal(before[name], student[name]) for name in text)
    assert all(torch.equal(before[name], control[name]) for name in text)
    image = [name for name in before if name.startswith("visual.") and before[name].is_floating_point()]
    assert any(not torch.equal(before[name], student[name]) for name in image)
    assert any(not torch.equal(control[name], student[name]) for name in image)
    # The targets tell their captions better than the picture does, and the run says by how much.
    leak = json.loads((finished / "teacher" / "targets.json").read_text())
    report = (finished / "report.html").read_text()
    assert "Regions and targets" in report and "data:image/png" in report
    assert "Regions and targets" in (finished / "report.md").read_text()
    assert leak["chance"] == pytest.approx(0.2) and 0 <= leak["target"]["same_picture"] <= 1


def test_an_earlier_epoch_of_another_runs_teacher_teaches(
    command: Command, dclip: Path, finished: Path, tmp_path: Path
) -> None:
    out, files = tmp_path / "second", sorted(finished.rglob("*"))
    taken = [f"teachers.0.meta.run={finished / 'teacher'}", *ALONE]
    # Another seed and other regions: what the first run stored for its own student must not be taken.
    other = ["regions.provider=grid", f"regions.store={tmp_path / 'grid'}", "seed=3"]
    said = command("train", dclip, *taken, *other, "teachers.0.meta.epoch=1", "--out", out)
    assert said.code == 0, said.err[-3000:]
    assert not (out / "teacher" / "checkpoints").exists() and sorted(finished.rglob("*")) == files
    stores = [TeacherStore.open(run / "teacher" / "targets") for run in (finished, out)]
    assert stores[0].ids == stores[1].ids  # `data.seed` draws the same samples under any seed
    assert stores[0].meta["regions"] != stores[1].meta["regions"]
    assert any(not torch.equal(a, b) for a, b in zip(weights(finished).values(), weights(out).values(), strict=True))
    complaint = command("train", dclip, *taken, "teachers.0.meta.epoch=7", "--out", tmp_path / "third").complaint()
    assert "has no epoch 7; it has 1, 2" in complaint
    save_student(create_model("petri-tiny-student", seed=8), tmp_path / "stranger")
    stranger = f"student={tmp_path / 'stranger'}"
    complaint = command("train", dclip, *taken, stranger, "--out", tmp_path / "third").complaint()
    assert "its teacher stands on another model" in complaint


@pytest.mark.parametrize("stops", [(2, 1), (6,)])
def test_stopped_anywhere_it_ends_with_the_same_bits(
    command: Command, dclip: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int]
) -> None:
    out, step, left = tmp_path / "halved", Trainer.train_step, 0

    def failing(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        nonlocal left
        left -= 1
        if left == 0:
            self._stop = True  # as a signal would: a checkpoint is left in the middle of an epoch
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", failing)
    for number, left in enumerate(stops):  # noqa: B007
        assert command("train", dclip, *ALONE, "--out", out, *(["--resume"] if number else [])).code == 130
    other_teacher = command("train", dclip, *ALONE, "teachers.0.meta.task.heads=2", "--out", out, "--resume")
    assert "differ: teachers" in other_teacher.complaint()
    said = command("train", dclip, *ALONE, "--out", out, "--resume")
    assert said.code == 0, said.err[-3000:]
    one, other = weights(finished), weights(out)
    assert all(torch.equal(one[name], other[name]) for name in one)
    for epoch in ("1", "2"):  # each is there still, however often the teacher's training was stopped
        kept = [run / "teacher" / "epochs" / epoch / "meta_teacher.safetensors" for run in (finished, out)]
        assert kept[0].read_bytes() == kept[1].read_bytes()


def test_mistakes_are_said_before_the_work(command: Command, dclip: Path, tmp_path: Path) -> None:
    def complaint(*overrides: str) -> str:
        return command("train", dclip, *overrides, "--out", tmp_path / "run").complaint()

    assert "`regions` is missing" in complaint("regions=null")
    assert "trains no meta-teacher" in complaint("teachers.0.meta.task.method=clip_kd")
    assert "`teachers.0.meta.epoch` is 9" in complaint("teachers.0.meta.epoch=9")
    assert "heads" in complaint("teachers.0.meta.task.heads=many")
    assert "two of them are meta-teachers" in complaint("teachers=[{meta: {train: {}}}, {meta: {train: {}}}]")
    assert "provider" in complaint("regions.provider=yollo")
    line = complaint("teachers.0.meta.train.activation_checkpointing=true")
    assert "`teachers.0.meta.train.activation_checkpointing`: a meta_teacher has no activations" in line
    assert not (tmp_path / "run").exists()


def test_a_meta_teacher_is_compiled_when_asked(
    command: Command, dclip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []
    for kind in KINDS.values():
        monkeypatch.setattr(kind, "compile", compiled.append)
    one = ("train.max_steps=1", "teachers.0.meta.train.epochs=1", *ALONE)
    said = command("train", dclip, *one, "teachers.0.meta.train.compile=true", "--out", tmp_path / "run")
    assert said.code == 0, said.err[-3000:]
    assert [type(model) for model in compiled] == [MetaTeacher]


def test_the_plan_counts_regions_teacher_and_targets(command: Command, dclip: Path, tmp_path: Path) -> None:
    grid = ("regions.provider=grid", f"regions.store={tmp_path / 'grid'}")
    said = command("train", dclip, *ALONE, *grid, "--plan", "--out", tmp_path / "run")
    assert said.code == 0 and list(tmp_path.iterdir()) == [tmp_path / "here"]
    words = " ".join(said.err.replace("\u2502", " ").split())
    for what in ("regions", "the meta-teacher", "its targets"):
        assert f"for {what}" in words
    said = command("train", dclip, *grid, "teachers.0.meta.train.batch_size=17", "--out", tmp_path / "run")
    assert "`teachers.0.meta.train.batch_size` is 17 and the data has 16 samples" in said.complaint()


def test_a_study_runs_what_is_missing_and_reports_on_all(
    command: Command, dclip: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    runs = [out / "micro/dclip" / f"seed-{k}" for k in (0, 1)]
    shutil.copytree(finished, runs[0])  # seed 0 is done
    study = ("study", dclip, "--seeds", "2", "--out", out)
    before = (runs[0] / "evaluation.json").stat().st_mtime_ns
    said = command(*study)
    assert said.code == 0, said.err[-3000:]
    assert (runs[0] / "evaluation.json").stat().st_mtime_ns == before
    assert (runs[1] / "evaluation.json").is_file() and (out / "report.md").is_file()
    recipe = yaml.safe_load(dclip.read_text())
    recipe["train"]["max_steps"] = 1
    dclip.write_text(yaml.safe_dump(recipe, sort_keys=False))
    said = command(*study)
    assert said.code == 2 and "2 of 2 runs failed" in said.err and "differ: train.max_steps" in said.err
