"""One cell of the petri study of teachers, made small: every measure that the grid names is there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from conftest import Command

SMALL = (
    "petri.images=32", "petri.val=4", "petri.test=12", "petri.compositional=4", "petri.zero_shot=1",
    "train.max_steps=2", "train.batch_size=16", "train.epochs=2", "train.keep_epochs=true",
    "evaluate.2.count=8", "evaluate.3.count=8",
)  # fmt: skip


def test_a_cell_of_the_petri_study(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    only = [word for one in ("teacher=small", "student=petri-rn", "terms=features") for word in ("--only", one)]
    settings = [word for one in SMALL for word in ("--set", one)]
    said = command("study", "petri/kd_for_vlms/teachers", *only, *settings, "--seeds", "1", "--out", "study")
    assert said.code == 0, said.err[-2000:]
    text = (tmp_path / "study" / "report.md").read_text("utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| petri-rn | features | small |")]
    assert "\N{EN DASH}" not in row and len(row.split("|")) == 3 + 6 + 2
    (cell,) = json.loads((tmp_path / "study" / "grid.json").read_text())["cells"]
    assert set(cell["epochs"]["0"]) == {"1"} or set(cell["epochs"]["0"]) == {"1", "2"}
    alike = [one for one in cell["seeds"]["0"]["student"] if one["evaluator"] == "likeness"]
    assert [(one["data"], one["n"]) for one in alike] == [("single things", 8), ("scenes", 8)]
    assert "Beside the paper" in text and "85.8 million parameters" in text
    rows = list(csv.DictReader((tmp_path / "study" / "report_files" / "pareto_parameters.csv").open(encoding="utf-8")))
    assert {one["model"] for one in rows} >= {"small"}
