"""`clipdistill evaluate` on a petri world's questions, with the teacher that comes with the package."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipdistill.cli import app
from clipdistill.petri.world import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds") / "world"
    write_world(folder, 4, val=2, test=30, formats=["karpathy", "vcr", "snli_ve", "vqa"], image_size=64)
    return folder


def evaluate(model: str, suite: str, world: Path, folder: Path, *options: str) -> dict:
    file = folder / f"found_{suite}.json"
    given = [part for option in options for part in ("--option", option)]
    command = ["evaluate", model, "--suite", suite, "--data", str(world), "--json", str(file), "--workers", "0", *given]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (result,) = json.loads(file.read_text())["results"]
    assert result["data"] == f"petri/{suite}" and result["evaluator"] == suite
    return result


def test_the_petri_teacher_without_training(world: Path, tmp_path: Path) -> None:
    vcr = evaluate("petri-teacher-small", "vcr", world, tmp_path, f"submission={tmp_path / 'vcr.csv'}")
    assert {"q2a", "qa2r", "q2ar", "q2ar_product"} <= set(vcr["metrics"]) and vcr["metrics"]["q2a"] > 0.25
    assert len(list(csv.reader((tmp_path / "vcr.csv").open()))) == 1 + vcr["n"]
    entailment = evaluate("petri-teacher-small", "snli_ve", world, tmp_path)
    assert entailment["metrics"]["accuracy"] > 1 / 3 and len(entailment["artifacts"]["clusters"]) == 3
    vqa = evaluate("petri-teacher-small", "vqa", world, tmp_path, f"submission={tmp_path / 'vqa.json'}")
    assert 0 < vqa["metrics"]["accuracy"] < 1
    assert len(json.loads((tmp_path / "vqa.json").read_text())) == vqa["n"]
