"""Studies given away through submitit, to its own local processes: asked after, waited for, a failing one repeated."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command
from halting_task import pid_in, steps_in, until

from clipdistill.runs.engines import slurm_engine

pytest.importorskip("submitit", reason="the extra [cluster] isn't installed")
HERE = str(Path(__file__).parent)


@pytest.fixture
def grid(recipe: Path, teacher: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cell that halts, and one without its teacher's weights."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(slurm_engine, "POLL_SECONDS", 0.2)
    (tmp_path / "other").mkdir()
    for file in teacher.iterdir():
        (tmp_path / "other" / file.name).write_bytes(b"" if file.suffix == ".safetensors" else file.read_bytes())
    other = [f"teachers.0.model={tmp_path / 'other'}", f"teachers.0.store={tmp_path}/stores/other"]
    content: dict[str, Any] = {
        "title": "Halting", "recipe": str(recipe), "seeds": 1, "resources": {"cpus": 1},
        "set": [
            "task.method=halting_task:Halting",
            f"evaluate=[{{suite: zero_shot, data: '{world / 'zero_shot' / 'unseen'}', templates: petri}}]",
        ],
        "axes": {"cell": {"levels": {"a": [f"task.place={tmp_path}/a"], "b": [*other, "train.max_steps=1"]}}},
    }  # fmt: skip
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_runs_are_given_away_asked_after_and_waited_for(
    command: Command, grid: Path, teacher: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    arguments = ["study", grid, "--out", out, "--engine", "slurm", "--slurm", "cluster=local"]
    assert "say how long a run may take" in command(*arguments).complaint()
    assert (
        "Unknown argument 'party'" in command(*arguments, "--slurm", "timeout_min=60", "--slurm", "party=x").complaint()
    )
    arguments += ["--slurm", "timeout_min=60", "--slurm", "partition=gpu"]

    said = command(*arguments)
    assert said.code == 0 and "2 runs are with Slurm" in said.out and "the same command shows" in said.out, said.err
    submitted = json.loads((out / "slurm" / "submitted.json").read_text())
    assert set(submitted) == {"cell=a/seed-0", "cell=b/seed-0"}
    pid_in(tmp_path / "a" / "halted")
    until((out / "slurm" / f"{submitted['cell=b/seed-0']}_0_result.pkl").exists)

    said = command(*arguments)  # one at work, which stays so; one that failed, which is named
    assert said.code == 2 and "1 running" in said.out and "are with Slurm" not in said.out, said.err[-2000:]
    assert "study: failed: cell=b, seed 0: " in said.err and "other" in said.err
    assert json.loads((out / "slurm" / "submitted.json").read_text()) == {"cell=a/seed-0": submitted["cell=a/seed-0"]}
    assert [bool(each["failed"]) for each in json.loads((out / "grid.json").read_text())["cells"]] == [False, True]

    weights = "open_clip_model.safetensors"
    (tmp_path / "other" / weights).write_bytes((teacher / weights).read_bytes())
    (tmp_path / "a" / "go").touch()
    said = command(*arguments, "--wait")
    assert said.code == 0 and "1 runs are with Slurm" in said.out, said.err[-2000:]
    assert list(steps_in(tmp_path / "a").values()) == [6]
    assert all(each["seeds"] for each in json.loads((out / "grid.json").read_text())["cells"])
    assert json.loads((out / "slurm" / "submitted.json").read_text()) == {}
    assert "are with Slurm" not in command(*arguments).out


def test_a_job_that_was_killed_is_named_and_goes_on_from_its_checkpoint(
    command: Command, grid: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    arguments = ["study", grid, "--only", "cell=a", "--out", out, "--engine", "slurm"]
    arguments += ["--slurm", "cluster=local", "--slurm", "timeout_min=60"]
    assert command(*arguments).code == 0
    os.kill(pid_in(tmp_path / "a" / "halted"), 9)
    (number,) = json.loads((out / "slurm" / "submitted.json").read_text()).values()
    until(lambda: b"submitit" not in _command_line(number))
    said = command(*arguments)
    assert said.code == 2 and f"job {number} ended without a word: killed, cancelled" in said.err
    said = command(*arguments, "--wait")
    assert said.code == 0, said.err[-2000:]
    assert list(steps_in(tmp_path / "a").values()) == [4, 4]  # steps 1 to 4, of which 2 were saved; then 3 to 6


def _command_line(number: str) -> bytes:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""
