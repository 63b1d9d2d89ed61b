"""A recipe's suites on models of several kinds: each goes through those that take it, and what is left out is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from clipdistill.kinds import KINDS
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import validate
from clipdistill.runs.evaluation import evaluate_models, open_evaluations, run_examples, say_unread
from tests.evaluate import official_files
from tests.evaluate.conftest import ColourModel

CPU = torch.device("cpu")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    for kind in KINDS.values():
        monkeypatch.setattr(kind, "cost", lambda model, device, speed=True: {"parameters": 3})
    official_files.sugarcrepe(tmp_path / "sugarcrepe")
    Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / "sugarcrepe" / "val2017" / "000000000139.jpg")
    Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "a.csv").write_text("image,caption\nred.png,a red wall\n")
    values: dict[str, Any] = {
        "name": "x", "student": "petri-student", "data": {"train": [{"format": "csv", "path": "a.csv"}]},
        "evaluate": [
            {"suite": "compositional", "data": str(tmp_path), "samples": 3},
            {"suite": "retrieval", "data": f"csv:{tmp_path / 'a.csv'}", "name": "walls"},
        ],
    }  # fmt: skip
    return validate(values, "x")


def test_every_model_goes_through_the_suites_that_take_its_kind(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluations = open_evaluations(recipe)
    model = ColourModel()
    models = {"base": ("b", model), "student": ("s", model)}
    found = evaluate_models(evaluations, models, CPU)["models"]
    for role in models:
        assert [result["data"] for result in found[role]["results"]] == ["sugarcrepe", "walls"]
    assert capsys.readouterr().out == ""  # a study measures models on what other models are asked, and says nothing
    # No model is a denoiser: the option did nothing, which a run says.
    say_unread(evaluations, models)
    assert "`samples` is for a denoiser, and this is a dual_encoder" in capsys.readouterr().out

    denoiser = SimpleNamespace(KIND="denoiser", to=lambda device: None)
    found = evaluate_models(evaluations[1:], {"teacher": ("t", denoiser), "student": ("s", model)}, CPU)["models"]
    assert found["teacher"]["results"] == [] and len(found["student"]["results"]) == 1
    assert "teacher: left out of retrieval: retrieval takes a model of kind dual_encoder" in capsys.readouterr().out


def test_examples_are_of_the_models_that_the_suite_takes(recipe: Recipe) -> None:
    evaluations = open_evaluations(recipe)
    denoiser = ("t", SimpleNamespace(KIND="denoiser"))
    shown = run_examples(evaluations, {"teacher": denoiser, "student": ("s", ColourModel())}, CPU)
    assert shown is not None and list(shown["queries"][0]["models"]) == ["student"]
    assert run_examples(evaluations, {"teacher": denoiser}, CPU) is None
    assert run_examples(evaluations[:1], {"student": ("s", ColourModel())}, CPU) is None
