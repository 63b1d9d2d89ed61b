"""Rehearsals from end to end, small: every family gets to its report, and what would break at the end is found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clipdistill import cli
from clipdistill.engine.trainer import Trainer
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import load_recipe
from clipdistill.rehearsal import rehearse, smaller
from clipdistill.rehearsal.handful import Handful
from clipdistill.runs.stages import export


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to give the command in, and pictures of a few pixels."""
    monkeypatch.setattr(smaller, "Handful", lambda count: Handful(count, side=32))
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def pairs(**more: Any) -> Recipe:
    """Shards, a stored teacher, a control, retrieval and classification."""
    values = {
        "name": "mine/pairs",
        "data": {"train": [{"format": "webdataset", "path": "data/cc3m/{00000..00331}.tar"}], "workers": 0},
        "student": "petri-tiny-student",
        "teachers": [{"model": "petri-teacher-small", "store": "stores/mine"}],
        "task": {"method": "clip_kd"},
        "train": {"epochs": 32, "batch_size": 1024, "warmup_steps": 10},
        "evaluate": [
            {"suite": "retrieval", "data": {"format": "karpathy", "path": "data/k.json", "split": "test"}},
            {"suite": "zero_shot", "data": {"format": "imagefolder", "path": "val"}, "class_names": "imagenet"},
        ],
        "compare": ["teacher", "base", "control"],
    }
    return Recipe.model_validate(values | more)


def test_a_run_of_pairs_gets_to_its_report_and_leaves_nothing_else(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = rehearse(pairs(), out)
    assert found.failed is None
    stages = [
        "opening", "forecast", "store of petri-teacher-small", "training", "control", "export of training",
        "export of control", "evaluation", "report",
    ]  # fmt: skip
    assert sorted(found.stages) == sorted(stages)
    assert found.stages["training"].resumed and not found.stages["control"].resumed
    assert {"report.html", "evaluation.json", "student", "control"} <= {one.name for one in (out / "run").iterdir()}
    measured = json.loads((out / "run" / "evaluation.json").read_text())["models"]
    assert set(measured) == {"teacher", "base", "control", "student"}
    told = json.loads((out / "rehearsal.json").read_text())
    assert told["failed"] is None and all(row["seconds"] > 0 for row in told["stages"])
    # CC3M's pairs for 32 epochs are many times two steps of eight.
    assert found.real["training"].seconds > 1e4 * found.stages["training"].forecast.seconds  # type: ignore[union-attr]
    assert found.real["store of petri-teacher-small"].disk > 1e3
    assert list(home.iterdir()) == [] and Path.cwd() == home
    assert [one.name for one in tmp_path.iterdir() if one.name not in ("home", "out")] == []


def test_without_out_nothing_stays(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    found = rehearse(pairs(teachers=[], task={"method": "contrastive"}, compare=[], evaluate=[]))
    assert found.failed is None and list((tmp_path / "tmp").iterdir()) == [] and list(home.iterdir()) == []


def test_an_export_that_breaks_is_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no layout\nfor this one")

    monkeypatch.setattr(export, "save_whole", broken)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(pairs(teachers=[], task={"method": "contrastive"}, compare=[], evaluate=[]).to_yaml())
    code = cli.run(["train", str(recipe), "--rehearse"])
    said = capsys.readouterr().out
    assert code == 1
    assert "failed: export of training: RuntimeError: no layout for this one" in said


def test_an_evaluation_that_breaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("it can't be measured")

    monkeypatch.setattr("clipdistill.runs.stages.evaluate.evaluate_models", broken)
    found = rehearse(pairs(teachers=[], task={"method": "contrastive"}, compare=[]))
    assert found.failed == ("evaluation", "ValueError: it can't be measured")


def test_a_training_that_begins_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_restore", lambda _: None)
    found = rehearse(pairs(teachers=[], task={"method": "contrastive"}, compare=[], evaluate=[]))
    assert found.failed is not None and found.failed[0] == "training" and "didn't go on from there" in found.failed[1]


def test_a_mistake_in_the_recipe_is_one_line_before_anything_is_made(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(pairs().to_yaml())
    assert cli.run(["train", str(recipe), "--rehearse", "task.weights={crd: 1, cdr: 1}"]) == 2
    assert "cdr" in capsys.readouterr().err
    assert cli.run(["train", str(recipe), "--rehearse", "--resume"]) == 2
    assert cli.run(["train", str(recipe), "--rehearse", "--out", str(tmp_path)]) == 2
    assert "new or empty folder" in capsys.readouterr().err
    assert list(home.iterdir()) == []


FAMILIES = {
    "petri/dclip": ("teacher", "the meta-teacher's targets", "regions", "control"),
    "petri/sds_clip": ("training", "control"),
    "petri/vl/uniter_vcr_clip_td": ("stage 1 of 2", "stage 2 of 2", "regions"),
    "petri/vlm/teacher_small": ("evaluation",),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_rehearsed(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    found = rehearse(recipe, tmp_path / "out")
    assert found.failed is None
    assert {*FAMILIES[name], "report"} <= set(found.stages)
    assert os.listdir(".") == []
