"""CLIP-TD from the command line: stored, adapted, trained, resumed to the same bits; semi-supervised; refused early."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from clipdistill.engine.trainer import Trainer
from clipdistill.kinds import kind_of, open_trained
from clipdistill.models.fusion.measures import flops
from clipdistill.petri import write_world

SOURCE = "format: vcr, path: {world}/vcr, split: train, question_types: petri"
RECIPE = "petri/vl/vl_bert_vcr_clip_td"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("td") / "world"
    write_world(found, images=12, val=2, test=2, seed=3, formats=("vcr", "snli_ve", "vqa", "vcr_reversed"))
    return found


def settings(world: Path, *more: str) -> list[str]:
    source = SOURCE.format(world=world)
    return [
        f"petri.path={world}", "petri.images=12", "petri.val=2", "petri.test=2", f"data.train=[{{{source}}}]",
        f"stages.0.data.train=[{{{source}}}]", f"regions.store={world}/regions", f"teachers.0.store={world}/taught",
        "train.epochs=9", "train.max_steps=4", "train.batch_size=8", "train.warmup_steps=1", "train.log_every=1",
        "train.checkpoint_every=2", "evaluate=[]", *more,
    ]  # fmt: skip


def without(given: list[str], *starts: str) -> list[str]:
    return [each for each in given if not each.startswith(starts)]


def logged(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clock = ("seconds", "samples_per_second", "mfu", "peak_memory_mb")
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def test_it_is_adapted_trained_and_resumed_to_the_same_bits(
    command: Command, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, stopped = tmp_path / "calm", tmp_path / "stopped"
    said = command("train", RECIPE, *settings(world), "--out", calm)
    assert said.code == 0, said.err[-2000:]
    assert json.loads((world / "taught" / "store.json").read_text())["questions"]["reads"] == ["answers", "rationales"]
    terms = {key for key in logged(calm / "stages" / "adapt")[0] if key.startswith("loss/")}
    assert terms == {"loss/words", "loss/matching", "loss/vision", "loss/language"}
    terms = {key for key in logged(calm)[0] if key.startswith("loss/")}
    assert terms == {"loss/task", "loss/vision", "loss/language", "loss/selected"}

    steps, train_step = 0, Trainer.train_step

    def broken(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps in (4, 8):  # in the stage of adaptation, and then in the task's
            raise KeyboardInterrupt
        return train_step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", broken)
        assert command("train", RECIPE, *settings(world), "--out", stopped).code == 130
        assert command("train", RECIPE, *settings(world), "--out", stopped, "--resume").code == 130
    said = command("train", RECIPE, *settings(world), "--out", stopped, "--resume")
    assert said.code == 0, said.err[-2000:]
    assert logged(calm) == logged(stopped)
    for file in (file.relative_to(calm) for file in (calm / "student").rglob("*.safetensors")):
        assert (calm / file).read_bytes() == (stopped / file).read_bytes(), file

    # What distillation adds is not in what is exported: it is as large, and costs as much, as the baseline.
    alone = without(settings(world), "teachers", "stages")
    said = command("train", "petri/vl/vl_bert_vcr", *alone, "--out", tmp_path / "baseline")
    assert said.code == 0, said.err[-2000:]
    student, baseline = open_trained(calm), open_trained(tmp_path / "baseline")
    assert flops(student) == flops(baseline)
    names = {name for name in student.state_dict() if not name.startswith("heads.")}
    assert names == {name for name in baseline.state_dict() if not name.startswith("heads.")}
    assert kind_of(student).name == "fusion" and not any("targeted" in name for name in student.state_dict())


def test_questions_without_labels_are_distilled_beside_a_few_with_them(
    command: Command, world: Path, tmp_path: Path
) -> None:
    few = SOURCE.format(world=world) + ", low_shot: 14"
    semi = settings(
        world, "stages=[]", f"data.train=[{{{few}}}, {{{few}, unlabelled: true}}]", f"teachers.0.store={tmp_path}/semi"
    )
    semi = without(semi, "stages.0")
    said = command("train", RECIPE, *semi, "--out", tmp_path / "semi-run")
    assert said.code == 0, said.err[-2000:]
    assert "unlabelled" in said.err
    # One store of all questions serves every draw.
    low = without(settings(world, "stages=[]", f"data.train=[{{{few}}}]"), "stages.0")
    stamp = (world / "taught" / "store.json").stat().st_mtime_ns if (world / "taught" / "store.json").exists() else None
    for seed in (0, 1):
        said = command("train", RECIPE, *low, f"seed={seed}", "--out", tmp_path / f"low-{seed}")
        assert said.code == 0, said.err[-2000:]
        stamp = stamp or (world / "taught" / "store.json").stat().st_mtime_ns
    assert (world / "taught" / "store.json").stat().st_mtime_ns == stamp


def test_what_cannot_be_is_said_before_the_training(command: Command, world: Path, tmp_path: Path) -> None:
    def said(*more: str, leave: tuple[str, ...] = ("-",)) -> str:
        return command("train", RECIPE, *without(settings(world, *more), *leave), "--out", tmp_path / "run").complaint()

    assert "`teachers.0.store` is missing" in said("teachers.0.store=null")
    assert "ruins a student" in said("stages.0.task.weights={language: 0.05}")
    assert "`task.weights.vision`: needs a teacher" in said(
        "teachers=[]", "stages=[]", leave=("teachers.0", "stages.0")
    )
    assert "none of vision, language, selected, choices has a weight" in said("task.weights={task: 1}")
    complaint = said("task.distil.confidence={temperature: 0}")
    assert "`task`" in complaint and "temperature" in complaint
    assert "`task.weights.vision`" in said("student=petri-bert")
    command("cache", RECIPE, *settings(world))
    complaint = said("task.distil.selection=random", "stages.0.task.distil={selection: random}")
    assert "what is stored of questions" in complaint and str(world / "taught") in complaint
    shutil.rmtree(world / "taught")
