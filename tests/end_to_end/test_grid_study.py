"""A grid from the command line: planned, run, gone on with, a failing cell named, and stores that would clash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command

from clipdistill.export import save_student
from clipdistill.models import create_model
from clipdistill.runs import jobs


def measured(world: Path) -> str:
    return f"evaluate=[{{suite: zero_shot, data: '{world / 'zero_shot' / 'unseen'}', templates: petri}}]"


@pytest.fixture
def grid(recipe: Path, teacher: Path, world: Path, tmp_path: Path) -> Path:
    """Two teachers by two objectives, over the micro recipe."""
    save_student(create_model("petri-student", seed=8), tmp_path / "other")
    models = {"one": teacher, "two": tmp_path / "other"}
    content: dict[str, Any] = {
        "title": "Teachers", "about": "of a test", "recipe": str(recipe), "seeds": 1,
        "set": [f"teachers.0.store={tmp_path}/stores/{{teacher}}", measured(world)],
        "axes": {
            "teacher": {"levels": {name: [f"teachers.0.model={model}"] for name, model in models.items()}},
            "loss": {"levels": {"fd": ["task.weights={fd: 1}"], "icl": ["task.weights={icl: 1}"]}},
        },
    }  # fmt: skip
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_grid_is_planned_run_and_gone_on_with(
    command: Command, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    said = command("study", grid, "--out", out, "--plan")
    assert said.code == 0 and "4 runs, 0 of them done" in said.out, said.err[-2000:]
    assert "one after the other" in said.out and not (out / "grid.json").exists()

    said = command("study", grid, "--only", "loss=fd", "--only", "teacher=one", "--out", out)
    assert said.code == 0, said.err[-2000:]
    first = out / "teacher=one+loss=fd" / "seed-0"
    assert (first / "evaluation.json").is_file() and (tmp_path / "stores" / "one").is_dir()
    before = (first / "evaluation.json").stat().st_mtime_ns

    trained: list[Any] = []
    train = jobs.train
    monkeypatch.setattr(jobs, "train", lambda *given, **named: trained.append(given) or train(*given, **named))
    said = command("study", grid, "--out", out)
    assert said.code == 0 and len(trained) == 3, said.err[-2000:]
    assert (first / "evaluation.json").stat().st_mtime_ns == before
    found = json.loads((out / "grid.json").read_text())["cells"]
    assert [each["levels"] for each in found] == [
        {"teacher": one, "loss": other} for one in ("one", "two") for other in ("fd", "icl")
    ]
    measured = json.loads((first / "evaluation.json").read_text())["models"]
    assert found[0]["seeds"]["0"]["student"][0]["metrics"] == measured["student"]["results"][0]["metrics"]
    text, page = (out / "report.md").read_text("utf-8"), (out / "report.html").read_text("utf-8")
    assert found[0]["costs"]["0"]["student"]["parameters"] > 0
    for words in ("Teachers", "level by level", "no teacher was measured by it", "loss=icl/seed-0/report."):
        assert words in text and words in page
    assert (out / "report_files" / "pareto_parameters.csv").is_file() and "Quality against parameters" in text
    assert "4 runs, 4 of them done" in command("study", grid, "--out", out, "--plan").out


def test_teachers_with_one_store_and_other_mistakes(command: Command, grid: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(grid.read_text())
    content["set"] = [f"teachers.0.store={tmp_path}/stores/all", content["set"][1]]
    (tmp_path / "clash.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    line = command("study", tmp_path / "clash.yaml", "--out", tmp_path / "study").complaint()
    assert "teacher=two, loss=fd, seed 0: `teachers.0.store`: " in line and "stores/{AXIS}" in line
    line = command("study", grid, "--set", "evaluate=[]", "--out", tmp_path / "study").complaint()
    assert "teacher=one, loss=fd: `evaluate`: the recipe measures nothing" in line
    line = command("study", grid, "--set", "train.epoch=1", "--out", tmp_path / "study").complaint()
    assert "teacher=one, loss=fd: " in line and "Did you mean 'epochs'" in line
    assert "--rows is of tables" in command("study", grid, "--rows", "x", "--out", tmp_path / "study").complaint()
    assert "--only is of grids" in command("study", "petri/rkd", "--only", "a=b", "--out", "x").complaint()
    assert "one grid at a time" in command("study", grid, tmp_path / "clash.yaml", "--out", "x").complaint()
    assert not (tmp_path / "study").exists()


def test_a_cell_that_fails_is_named_and_the_others_go_on(command: Command, grid: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "open_clip_model.safetensors").write_bytes(b"broken")
    said = command("study", grid, "--only", "loss=fd", "--out", tmp_path / "study")
    assert said.code == 2 and "study: 1 of 2 runs failed; the first: teacher=two, loss=fd, seed 0" in said.err
    assert "failed" in (tmp_path / "study" / "report.md").read_text("utf-8")
    assert (tmp_path / "study" / "teacher=one+loss=fd" / "seed-0" / "evaluation.json").is_file()


def test_runs_of_recipes_with_other_settings_lie_beside(
    command: Command, recipe: Path, world: Path, tmp_path: Path
) -> None:
    for said in ([], ["--set", "train.lr=0.01"]):
        found = command("study", recipe, "--seeds", "1", *said, "--set", measured(world), "--out", tmp_path / "study")
        assert found.code == 0, found.err[-2000:]
    assert len(list((tmp_path / "study").glob("micro/*/seed-0/evaluation.json"))) == 2
