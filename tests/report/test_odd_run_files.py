"""Files of a run that hold something else: one line, or what can be told is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipdistill.errors import UserError
from clipdistill.report import build_report
from clipdistill.report.records import read_run
from clipdistill.runs.stages import Evaluate


@pytest.mark.parametrize("models", [None, [], "x", {"student": None}, {"student": {"results": [3]}}])
def test_models_that_are_none_are_one_line(tmp_path: Path, models: Any) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps({"models": models}))
    with pytest.raises(UserError, match=r"evaluation\.json: .*; evaluate the run again$"):
        read_run(tmp_path)


def test_what_can_not_be_drawn_is_one_line(make_run: Any, tmp_path: Path) -> None:
    run = make_run()
    content = json.loads((run / "evaluation.json").read_text())
    content["models"]["student"]["results"][0]["artifacts"] = {"bad": 0.5}
    (run / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"evaluation\.json or examples\.json isn't what a run writes \(TypeError"):
        build_report(run, tmp_path / "page")


def test_an_epoch_without_a_number_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps({"models": {}, "epochs": {"x": {}, "2": {}}}))
    assert list(read_run(tmp_path).epochs) == [2]


@pytest.mark.parametrize("content", ["[]", "3", "null", "{"])
def test_numbers_that_are_none_are_measured_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    stage = Evaluate.__new__(Evaluate)
    stage.run_folder = type("Run", (), {"evaluation": tmp_path / "evaluation.json"})()  # type: ignore[assignment]
    stage.recipe = type("Asks", (), {"evaluate": [1], "model_dump": lambda *_, **__: {"evaluate": 1, "compare": 1}})()  # type: ignore[assignment]
    assert stage.done() is False
