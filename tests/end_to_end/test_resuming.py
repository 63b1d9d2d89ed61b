"""A run that was stopped and went on is, byte for byte, the run that was left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Command

from clipdistill.engine.trainer import Trainer

CLOCK = ("seconds", "samples_per_second", "mfu", "peak_memory_mb")


def numbers(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def weights(run: Path) -> bytes:
    return (run / "student" / "open_clip_model.safetensors").read_bytes()


@pytest.mark.parametrize(("stop_at", "where"), [(5, "student"), (8, "control")])
def test_stopped_by_a_signal_and_resumed(
    command: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, where: str
) -> None:
    settings = ["compare=[control]", "train.checkpoint_every=100", "train.log_every=2", "train.ema=0.9"]
    calm, stopped = tmp_path / "calm", tmp_path / "stopped"
    assert command("train", recipe, *settings, "--out", calm).code == 0

    steps, train_step = 0, Trainer.train_step

    def signalled(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", signalled)
    said = command("train", recipe, *settings, "--out", stopped)
    assert said.code == 130 and "Traceback" not in said.err
    assert said.err.strip().splitlines()[-1] == (
        f"clipdistill: stopped after step {(stop_at - 1) % 6 + 1} of 6; go on with the same command and --resume"
    )
    halted = stopped if where == "student" else stopped / "control"
    assert [path.name for path in (halted / "checkpoints").iterdir()] == [f"step-{(stop_at - 1) % 6 + 1:08d}.pt"]
    assert not (halted / "student").exists() and not (stopped / "report.html").exists()
    assert "no student/ yet" in command("evaluate", halted, "--suite", "petri", "--data", tmp_path).complaint()

    # Another number of workers, because that is something one may change between the two.
    monkeypatch.setattr(Trainer, "train_step", train_step)
    said = command("train", recipe, *settings, "data.workers=1", "--out", stopped, "--resume")
    assert said.code == 0, said.err
    for run in ("", "control"):
        assert weights(stopped / run) == weights(calm / run)
        assert numbers(stopped / run) == numbers(calm / run)

    # Once more: nothing is left to train.
    monkeypatch.setattr(Trainer, "train_step", None)
    assert command("train", recipe, *settings, "--out", stopped, "--resume").code == 0
    assert weights(stopped) == weights(calm)


def test_the_student_of_every_epoch_is_kept_and_measured(
    command: Command, recipe: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = f"evaluate=[{{suite: zero_shot, data: '{world / 'zero_shot' / 'unseen'}', templates: petri}}]"
    settings = ["train.keep_epochs=true", "train.checkpoint_every=2", "train.ema=0.9", suite]
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert command("train", recipe, *settings, "--out", calm).code == 0
    assert sorted(path.name for path in (calm / "epochs").iterdir()) == ["1", "2"]
    first, second = ((calm / "epochs" / one / "open_clip_model.safetensors").read_bytes() for one in "12")
    assert second == weights(calm) and first != second
    found = json.loads((calm / "evaluation.json").read_text())
    assert list(found["epochs"]) == ["1", "2"] and found["epochs"]["1"]["name"] == "petri-tiny-student, epoch 1"
    assert found["epochs"]["2"]["results"] == found["models"]["student"]["results"]
    assert "Epoch by epoch" in (calm / "report.html").read_text("utf-8")

    # Killed between the checkpoint at the end of the first epoch and what is made of it.
    save = Trainer.save

    def dying(self: Trainer) -> None:
        save(self)
        if self.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save", dying)
    command("train", recipe, *settings, "--out", killed)
    assert not (killed / "epochs").exists() and (killed / "checkpoints" / "step-00000003.pt").is_file()
    monkeypatch.setattr(Trainer, "save", save)
    assert command("train", recipe, *settings, "--out", killed, "--resume").code == 0
    for one, expected in zip("12", (first, second), strict=True):
        assert (killed / "epochs" / one / "open_clip_model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("how", ["process", "group", "worker"])
def test_a_real_signal_to_a_real_process(how: str, recipe: Path, tmp_path: Path) -> None:
    """A scheduler signals all processes of a run, also those that decode pictures; memory runs out in one of these."""
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "clipdistill.cli", "train", str(recipe), "train.epochs=10000", "data.workers=2",
         "--out", str(out)],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (out / "metrics.jsonl").is_file() or not (out / "metrics.jsonl").read_text():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        if how == "worker":
            psutil.Process(process.pid).children()[-1].kill()
        else:
            (os.killpg if how == "group" else os.kill)(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    assert "Traceback" not in said, said[-2000:]
    last = said.strip().splitlines()[-1]
    (newest,) = sorted((out / "checkpoints").iterdir())[-1:]
    if how == "worker":
        assert process.returncode == 2 and "`data.workers`: one of 2 processes was killed" in last
    else:
        assert process.returncode == 130
        assert last.startswith("clipdistill: stopped after step ") and last.endswith("--resume")
        assert newest.name == f"step-{int(last.split('after step ')[1].split()[0]):08d}.pt"
    assert numbers(out)[-1]["step"] <= int(newest.stem.split("-")[1])
    assert not any(str(out) in " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))


def test_resuming_with_another_recipe_names_what_differs(command: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert command("train", recipe, "train.max_steps=1", "--out", out).code == 0
    before = weights(out)
    said = command(
        "train", recipe, "train.max_steps=1", "train.lr=0.5", "teachers.0.store=elsewhere", "--out", out, "--resume"
    ).complaint()
    assert "another recipe" in said and "train.lr" in said and "teachers" in said
    assert weights(out) == before and not Path("elsewhere").exists()
    # What doesn't change the training may change.
    said_ = command("train", recipe, "train.max_steps=1", "train.log_every=7", "about=x", "--out", out, "--resume")
    assert said_.code == 0 and weights(out) == before


def test_a_run_without_its_checkpoints_is_still_that_recipes(command: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert command("train", recipe, "train.max_steps=1", "--out", out).code == 0
    shutil.rmtree(out / "checkpoints")
    again = ("train", recipe, "train.max_steps=1", "--out", out, "--resume")
    assert "train.lr" in command(*again[:3], "train.lr=0.5", *again[3:]).complaint()
    before = weights(out)
    assert command(*again).code == 0 and weights(out) == before


def test_another_evaluation_is_measured_anew_without_training(
    command: Command, recipe: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*changed: str) -> dict[str, list[str]]:
        said = command("train", recipe, *changed, "train.max_steps=1", "--out", out, *resumed)
        assert said.code == 0, said.err
        found = json.loads((out / "evaluation.json").read_text())["models"]
        return {role: [result["data"] for result in model["results"]] for role, model in found.items()}

    out, resumed = tmp_path / "run", list[str]()
    file = world / "dataset_petri.json"
    test, val = (f"{{suite: retrieval, data: 'karpathy:{file}@{split}', name: {split}}}" for split in ("test", "val"))
    assert measured(f"evaluate=[{test}]") == {"student": ["test"]}
    monkeypatch.setattr(Trainer, "train_step", None)
    resumed.append("--resume")
    first, report = (out / "evaluation.json").stat().st_mtime_ns, (out / "report.html").read_text()
    assert measured(f"evaluate=[{test}]") == {"student": ["test"]}
    assert (out / "evaluation.json").stat().st_mtime_ns == first  # nothing else is asked: nothing is measured
    assert measured(f"evaluate=[{test}, {val}]") == {"student": ["test", "val"]}
    assert measured(f"evaluate=[{val}]", "compare=[base]") == {"base": ["val"], "student": ["val"]}
    assert (out / "report.html").read_text() != report


def test_one_command_begins_and_goes_on(command: Command, recipe: Path, tmp_path: Path) -> None:
    """A scheduler gives the same command again, whatever the first left: here half of its first file."""
    out = tmp_path / "run"
    out.mkdir()
    (out / ".recipe.yaml.123.tmp").write_text("name: mi")
    (out / ".student.tmp").mkdir()
    same = ("train", recipe, "train.max_steps=2", "--out", out, "--resume")
    assert command(*same).code == 0 and numbers(out)[-1]["step"] == 2
    assert not list(out.rglob("*.tmp"))
    before = weights(out)
    assert command(*same).code == 0 and weights(out) == before
    (out / "mine.txt").touch()
    assert command(*same).code == 0  # of a run, other files are the user's business
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    assert "holds other files" in command(*same[:-2], tmp_path / "other", "--resume").complaint()
