"""`torchrun` with two processes: one shared store, and the student that one process makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from clipdistill.export import save_student
from clipdistill.models import create_model

RECIPE = [
    "petri/quickstart", "petri.images=48", "petri.val=8", "petri.test=16", "petri.zero_shot=1",
    "train.batch_size=16", "train.epochs=1",
    "train.warmup_steps=1", "student=petri-tiny-student", "compare=[]", "evaluate=[]",
]  # fmt: skip


def train(folder: Path, launcher: list[str]) -> None:
    arguments = [*RECIPE, f"teachers=[{{model: {folder.parent / 'teacher'}, store: {folder / 'store'}}}]"]
    world = folder.parent / "world"
    arguments += [f"petri.path={world}", f"data.train.0.path={world / 'dataset_petri.json'}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launcher, "-m", "clipdistill.cli", "train", *arguments, "--out", str(folder / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_processes_make_the_student_of_one(tmp_path: Path) -> None:
    save_student(create_model("petri-tiny-student", seed=5), tmp_path / "teacher")
    train(tmp_path / "one", [sys.executable])
    # standalone: torchrun keeps the port that it finds, so that nobody beside it can take it.
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    train(tmp_path / "two", torchrun)
    assert sorted(p.name for p in (tmp_path / "two" / "store").glob("shard-*")) == [
        "shard-00000-of-00002", "shard-00001-of-00002"
    ]  # fmt: skip
    one, two = (load_file(tmp_path / n / "run" / "student" / "open_clip_model.safetensors") for n in ("one", "two"))
    start = create_model("petri-tiny-student", seed=0).clip.state_dict()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert any(not torch.allclose(value, start[name]) for name, value in one.items())
