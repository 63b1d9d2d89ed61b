"""A run that is killed between two files of one stage: the same command writes the second one too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from clipdistill import files


def test_what_a_stage_writes_last_is_not_forgotten(
    command: Command, recipe: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a control's beginning, an evaluation with examples, and a report with pictures."""
    run = tmp_path / "run"
    data = f"karpathy:{world / 'dataset_petri.json'}@test"
    evaluate = f"evaluate=[{{suite: retrieval, data: '{data}'}}]"
    same = ("train", recipe, "train.max_steps=1", "compare=[control]", evaluate, "--out", run, "--resume")
    replace = os.replace
    for last in ("control/environment.json", "examples.json", "report.md"):

        def dying(source: Any, target: Any, last: str = last) -> None:
            if Path(target) == run / last:
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(files.os, "replace", dying)
            assert command(*same).code == 130
        assert not (run / last).exists()
    assert command(*same).code == 0
    for found in ("control/environment.json", "control/bad_samples.jsonl", "examples.json", "report.md", "report.html"):
        assert (run / found).is_file(), found
