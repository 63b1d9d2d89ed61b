"""`clipdistill interpolate` from two checkpoints to a frontier and a student."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from conftest import Command
from safetensors.torch import load_file

from clipdistill.export import save_student
from clipdistill.models import create_model
from clipdistill.report.frontier import Point, choose


def test_sweep_table_picture_and_student(command: Command, world: Path, tmp_path: Path) -> None:
    for seed, name in ((0, "base"), (1, "student")):
        save_student(create_model("petri-tiny-student", seed=seed), tmp_path / name)
    base, student, out = tmp_path / "base", tmp_path / "student", tmp_path / "out"
    said = command(
        "interpolate", base, student, "--measure", f"petri={world}", "--alphas", "3", "--keep", "0", "--out", out
    )
    assert said.code == 0, said.err[-2000:]
    found = json.loads((out / "frontier.json").read_text())
    assert [point["alpha"] for point in found["points"]] == [0.0, 0.5, 1.0]
    assert "| 0.50 |" in (out / "frontier.md").read_text() and b"<svg" in (out / "frontier.svg").read_bytes()
    alpha = found["chosen"]["alpha"]
    files = [load_file(folder / "open_clip_model.safetensors") for folder in (base, student, out / "student")]
    for name, mixed in files[2].items():
        if mixed.is_floating_point():
            expected = (1 - alpha) * files[0][name].double() + alpha * files[1][name].double()
            torch.testing.assert_close(mixed, expected.float())
    again = command("interpolate", base, student, "--measure", f"petri={world}", "--out", out).complaint()
    assert "holds a frontier already" in again


def test_mistakes(command: Command, world: Path, tmp_path: Path) -> None:
    save_student(create_model("petri-tiny-student", seed=0), tmp_path / "base")

    def complaint(student: Path, measure: str) -> str:
        return command(
            "interpolate", tmp_path / "base", student, "--measure", measure, "--out", tmp_path / "out"
        ).complaint()

    assert "write SUITE=DATA" in complaint(tmp_path / "base", "petri")
    assert "no suite" in complaint(tmp_path / "base", "petry=x")
    captions = f"retrieval=karpathy:{world / 'dataset_petri.json'}@test"
    assert "add zero_shot=DATA" in complaint(tmp_path / "base", captions)
    assert not (tmp_path / "out" / "frontier.json").exists()


def test_the_chosen_point_keeps_what_was_asked() -> None:
    points = [Point(0.0, 0.30, 0.60, 1.0), Point(0.5, 0.38, 0.59, 0.983), Point(1.0, 0.40, 0.54, 0.90)]
    assert choose(points, 0.97).alpha == 0.5
    assert choose(points, 0.90).alpha == 1.0
    assert choose(points, 1.0).alpha == 0.0
