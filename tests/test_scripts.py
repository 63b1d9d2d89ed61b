"""Scripts and benchmarks stand outside the package and run rarely: each still finds what it imports, and ships."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from clipdistill.export import save_student
from clipdistill.models import create_model, load_model
from clipdistill.recipe_files import load_recipe
from clipdistill.runs.training import train

ROOT = Path(__file__).parent.parent
SCRIPTS = [*sorted((ROOT / "benchmarks").glob("*.py")), *sorted((ROOT / "scripts").glob("*.py"))]


def opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(os, "environ", os.environ.copy())  # benchmarks ask for quiet
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_script_finds_what_it_imports(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(path, monkeypatch).__doc__


def test_shipped_clip_weights_are_in_half_precision_and_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = opened(ROOT / "scripts" / "ship_teacher.py", monkeypatch)
    student = create_model("petri-tiny-student", seed=3)
    save_student(student, tmp_path / "run" / "student")
    script.write_clip(tmp_path / "run", "petri-tiny-student", tmp_path / "shipped")
    assert sorted(path.name for path in (tmp_path / "shipped").iterdir()) == sorted(script.KEPT)
    stored = load_file(tmp_path / "shipped" / "open_clip_model.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    save_student(student, tmp_path / "whole", dtype=torch.float16)
    for path in (tmp_path / "whole").iterdir():  # what ships once beside all weights
        (tmp_path / "shipped" / path.name).exists() or path.rename(tmp_path / "shipped" / path.name)
    back = load_model(tmp_path / "shipped").state_dict()
    for name, value in student.state_dict().items():
        torch.testing.assert_close(back[name], value, rtol=1e-3, atol=1e-4)


def test_a_run_becomes_a_shipped_teacher_that_says_how_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = opened(ROOT / "scripts" / "ship_teacher.py", monkeypatch)
    monkeypatch.setattr(script, "WEIGHTS_FOLDER", tmp_path / "shipped")
    world = tmp_path / "world"
    settings = [
        f"petri.path={world}", f"data.train.0.path={world / 'dataset_petri.json'}", "petri.images=16", "petri.val=1",
        "petri.zero_shot=1",
        "petri.test=1", "petri.compositional=2", "train.batch_size=8", "train.max_steps=1", "train.epochs=1",
        f"evaluate.0.data={world}", "evaluate.0.samples=1", "compare=[]",
    ]  # fmt: skip
    train(load_recipe("petri/diffusion_teacher", settings), tmp_path / "run")
    folder = script.ship(tmp_path / "run", "petri-diffusion")
    said = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert folder == tmp_path / "shipped" / "petri-diffusion" and (folder / "unet").is_dir()
    assert said["fingerprint"] == script.digest(folder) and said["held_out"]["winoground"]["n"] == 2
    assert said["recipe"]["task"]["method"] == "diffusion" and str(tmp_path) not in json.dumps(said)


def test_full_size_recipes_are_rehearsed_and_have_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    script = opened(ROOT / "scripts" / "rehearse_recipes.py", monkeypatch)
    names = ["clip_kd/rn50", "petri/clip_kd/baseline", "real/pets", "vlm/siglip"]
    assert script.chosen(names, []) == ["clip_kd/rn50", "vlm/siglip"]
    assert script.chosen(names, ["petri/*"]) == ["petri/clip_kd/baseline"]
    stages = [{"memory_bytes": 2e9}, {"memory_bytes": 3e9}]
    notes = ["x: 2 times fewer layers than it has, for want of memory", "y: a made-up vocabulary"]
    found = {"seconds": 61.2, "stages": stages, "notes": notes, "failed": None}
    told = "ok      a/b: 61 s, 3.0 GB; x: 2 times fewer layers than it has, for want of memory"
    assert script.line("a/b", found, "") == (True, told)
    failed = {**found, "failed": {"stage": "evaluation", "reason": "no data"}}
    assert script.line("a/b", failed, "") == (False, "FAILED  a/b: evaluation: no data")
    assert script.line("a/b", None, "clipdistill: no") == (False, "FAILED  a/b: clipdistill: no")
