"""`clipdistill evaluate` on a petri world's questions: the teacher that comes with the package, and a fusion model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from clipdistill.cli import app
from clipdistill.data import Mixture
from clipdistill.errors import UserError
from clipdistill.evaluate.suites import find_suite
from clipdistill.kinds import KINDS, open_trained
from clipdistill.models.fusion import create_fusion
from clipdistill.petri.world import write_world
from clipdistill.recipe import RegionSpec
from clipdistill.runs.evaluation_regions import EvaluationRegions


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


def test_a_fusion_model_from_its_folder(world: Path, tmp_path: Path) -> None:
    """Random weights: what is shown is the way from a folder, a world and a store of regions to numbers."""
    eye = open_trained("petri-teacher-small")
    heads = {"vcr": 2, "snli_ve": 3, "vqa": len((world / "vqa" / "answers.txt").read_text().split("\n")) - 1}
    model = create_fusion("petri-uniter", 0, region_width=eye.embed_dim, heads=heads)
    KINDS["fusion"].save(model, tmp_path / "model")
    spec = RegionSpec(provider="grid", store=tmp_path / "unused", max_regions=4)
    for suite in ("vcr", "snli_ve", "vqa"):
        (source,) = find_suite(suite).open(str(world), find_suite(suite).read_options({})).values()
        make = EvaluationRegions(spec, lambda: eye, None, torch.device("cpu"))
        make(Mixture([(source, None)]), tmp_path / f"regions_{suite}")
        result = evaluate(str(tmp_path / "model"), suite, world, tmp_path, f"regions={tmp_path / f'regions_{suite}'}")
        assert result["n"] == len(source) and 0 <= next(iter(result["metrics"].values())) <= 1
    command = ["evaluate", str(tmp_path / "model"), "--suite", "vcr", "--data", str(world)]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, UserError) and "say where their store lies" in str(refused.exception)


def test_a_run_makes_the_regions_that_it_is_measured_with(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = {
        "name": "tiny", "student": "petri-uniter", "task": {"method": "vcr"}, "compare": ["base"],
        "data": {"train": [{"format": "vcr", "path": str(world / "vcr"), "split": "train"}], "workers": 0},
        "regions": {
            "provider": "annotations", "store": str(tmp_path / "regions"), "model": "petri-teacher-small",
            "max_regions": 4, "features": "map", "bins": 3,
        },
        "train": {"epochs": 1, "batch_size": 4},
        "evaluate": [{"suite": "vcr", "data": str(world), "submission": str(tmp_path / "vcr.csv")}],
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(json.dumps(recipe))
    done = CliRunner().invoke(app, ["train", str(tmp_path / "tiny.yaml"), "--out", str(run)])
    assert done.exit_code == 0, done.output
    models = json.loads((run / "evaluation.json").read_text())["models"]
    (measured,) = models["student"]["results"]
    assert measured["n"] == 90 and models["base"]["results"] == []
    assert "base: left out of vcr: fusion model 'petri-uniter' has no head 'vcr' (it has none)" in done.output
    assert (run / "evaluation_regions" / "petri_vcr" / "store.json").is_file()
    assert len((tmp_path / "vcr.student.csv").read_text().splitlines()) == 91
    again = evaluate(str(run), "vcr", world, tmp_path)  # later, by the run's name: the regions are there
    assert again["metrics"] == measured["metrics"]
