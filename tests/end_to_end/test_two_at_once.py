"""Two commands into one folder: the second is refused in one line, and the first one's run is as if it were alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Command

from clipdistill.export import save_student
from clipdistill.locks import hold
from clipdistill.models import create_model
from clipdistill.runs import training
from clipdistill.runs.folder import LOCK

BUSY = "another process is running into this folder"

# The command line, but it stops after step 3, says so (with its loader's workers), and goes on when it is told to.
HALTS = """
import multiprocessing, sys
from clipdistill import cli
from clipdistill.engine.trainer import Trainer
step = Trainer.train_step
def halted(self, batch):
    values = step(self, batch)
    if self.step == 3:
        print("halted", *(child.pid for child in multiprocessing.active_children()), flush=True)
        sys.stdin.readline()
    return values
Trainer.train_step = halted
sys.exit(cli.run(sys.argv[1:]))
"""


@contextmanager
def halted(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A training in a process of its own that has made three steps, and the ids of its workers."""
    with subprocess.Popen(
        [sys.executable, "-c", HALTS, "train", *map(str, arguments)], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = next(line for line in process.stdout if line.startswith("halted"))
            yield process, [int(number) for number in said.split()[1:]]
        finally:
            process.kill()


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_second_training_is_refused_while_the_first_goes_on(command: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with halted(recipe, "--out", out) as (first, _):
        for more in ([], ["--resume"]):
            second = [sys.executable, "-m", "clipdistill.cli", "train", str(recipe), "--out", str(out), *more]
            done = subprocess.run(second, capture_output=True, text=True)
            assert done.returncode == 2 and done.stdout == ""
            assert done.stderr.startswith(f"clipdistill: --out {out}: {BUSY}") and done.stderr.count("\n") == 1
        assert steps(out) == [1, 2]
        first.communicate("go on\n")
        assert first.returncode == 0
    assert steps(out) == [1, 2, 3, 4, 5, 6] and (out / "student").is_dir()
    assert "holds a run already" in command("train", recipe, "--out", out).complaint()


def test_a_killed_run_is_taken_up_at_once_though_its_workers_live(
    command: Command, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with halted(recipe, "data.workers=1", "--out", out) as (first, workers):
        assert len(workers) == 1
        os.kill(workers[0], signal.SIGSTOP)  # so that it can't notice that its parent is gone
        try:
            first.kill()
            first.wait()
            said = command("train", recipe, "--out", out, "--resume")
            os.kill(workers[0], 0)  # it is still there
        finally:
            os.kill(workers[0], signal.SIGKILL)
    assert said.code == 0, said.err
    assert steps(out) == [1, 2, 3, 4, 5, 6]


def test_a_folder_that_another_process_has_just_taken(command: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with hold(out / LOCK, "", wait=False):
        assert BUSY in command("train", recipe, "--out", out).complaint()  # before any recipe is written into it
        assert [path.name for path in out.iterdir()] == [LOCK] and not (tmp_path / "store").exists()
        said = command("train", recipe, "--plan")
        assert said.code == 0, said.err
    assert command("train", recipe, "train.max_steps=1", "--out", out).code == 0  # a lock is no other file


def test_a_folder_that_another_process_filled_during_the_plan(
    command: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, show_plan = tmp_path / "run", training.show_plan

    def slow(*arguments: object) -> None:
        monkeypatch.setattr(training, "show_plan", show_plan)
        assert command("train", recipe, "train.max_steps=2", "--out", out).code == 0
        show_plan(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "show_plan", slow)
    said = command("train", recipe, "train.max_steps=4", "--out", out)
    assert said.code == 2 and "holds a run already" in said.err.strip().splitlines()[-1]
    assert steps(out) == [1, 2] and "max_steps: 2" in (out / "recipe.yaml").read_text()


def test_a_second_study_is_refused(command: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    with hold(out / LOCK, "", wait=False):
        assert BUSY in command("study", recipe, "--seeds", "1", "--out", out).complaint()
        assert [path.name for path in out.iterdir()] == [LOCK]
    (tmp_path / "file").touch()
    assert "choose another folder" in command("study", recipe, "--seeds", "1", "--out", tmp_path / "file").complaint()


def test_a_second_sweep_is_refused(command: Command, world: Path, tmp_path: Path) -> None:
    base, student = tmp_path / "base", tmp_path / "student"
    for seed, folder in enumerate((base, student)):
        save_student(create_model("petri-tiny-student", seed=seed), folder)
    with hold(tmp_path / "out" / LOCK, "", wait=False):
        said = command("interpolate", base, student, "--measure", f"petri={world}", "--out", tmp_path / "out")
        assert BUSY in said.complaint()
        assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]
