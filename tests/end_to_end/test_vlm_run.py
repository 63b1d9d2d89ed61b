"""A VLM from end to end: captions, questions, answers by the official score; killed between, resumed to the bit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from clipdistill.engine.trainer import Trainer
from clipdistill.petri import write_world
from tests.end_to_end.conftest import Command


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro world with conversations."""
    folder = tmp_path_factory.mktemp("talking") / "world"
    write_world(folder, images=20, val=1, test=4, seed=0, image_size=32, formats=["karpathy", "llava"])
    return folder


@pytest.fixture
def recipe(talking: Path, tmp_path: Path) -> Path:
    """Two steps for the connector, two for the language model too."""
    files = {name: str(talking / "llava" / f"{name}_train.json") for name in ("captions", "questions")}
    values = {
        "name": "micro-vlm", "student": "vlm:petri-teacher-small+petri-lm-tiny",
        "data": {
            "train": [{"format": "llava", "path": files["captions"]}], "augment": {"crop_scale": None}, "workers": 0,
        },
        "task": {"method": "vlm", "max_tokens": 128},
        "train": {"batch_size": 8, "micro_batch": 4, "lr": 0.01, "max_steps": 2, "log_every": 1, "checkpoint_every": 1},
        "stages": [
            {"name": "connector", "task": {"train": "connector", "style": "plain", "max_tokens": 128}},
            {"name": "questions", "data": {"train": [{"format": "llava", "path": files["questions"]}]}},
        ],
        "evaluate": [
            {"suite": "vlm", "data": str(talking), "max_new_tokens": 3, "answers": str(tmp_path / "answers.jsonl")},
            {"suite": "retrieval", "name": "as a CLIP", "data": f"karpathy:{talking / 'dataset_petri.json'}@test"},
        ],
        "compare": ["base"],
    }  # fmt: skip
    path = tmp_path / "micro.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def weights(run: Path) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in load_file(run / "student" / "model.safetensors").items()}


def stopped_in(step: int) -> Any:
    """`Trainer.train_step` that gets a SIGTERM in that step of the run."""
    steps, train_step = 0, Trainer.train_step

    def train(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self, batch)

    return train


def test_two_stages_an_evaluation_and_the_same_again_after_a_stop(
    command: Command, recipe: Path, talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    said = command("train", recipe, "--out", whole)
    assert said.code == 0, said.err
    first, last = weights(whole / "stages" / "connector"), weights(whole)
    changed = {name for name, value in last.items() if value != first[name]}
    for part, trained in {"vision_tower": False, "multi_modal_projector": True, "language_model": True}.items():
        names = {name for name in last if part in name}
        assert names and (names <= changed if trained else not names & changed), part

    asked = json.loads((talking / "llava" / "v2_OpenEnded_petri_test_questions.json").read_text(encoding="utf-8"))
    models = json.loads((whole / "evaluation.json").read_text(encoding="utf-8"))["models"]
    (result,) = models["student"]["results"]
    # Its tower is measured as the CLIP that it is; there was no VLM before the training.
    assert models.keys() == {"base", "student"} and models["base"]["name"] == "petri-teacher-small"
    assert [one["data"] for one in models["base"]["results"]] == ["as a CLIP"]
    assert (result["evaluator"], result["data"], result["n"]) == ("vlm", "petri/llava", len(asked["questions"]))
    answers = tmp_path / "answers.student.jsonl"
    assert len(answers.read_text(encoding="utf-8").splitlines()) == result["n"]
    scored = command("score", "vqa_v2", "--questions", talking / "llava", "--split", "test", "--answers", answers)
    assert scored.code == 0 and "accuracy" in scored.out
    assert "petri/llava" in (whole / "report.md").read_text(encoding="utf-8")

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", stopped_in(3))
        assert command("train", recipe, "--out", stopped, "evaluate=[]").code == 130
    assert not (stopped / "student").exists() and (stopped / "stages" / "connector" / "student").is_dir()
    assert command("train", recipe, "--out", stopped, "evaluate=[]", "--resume").code == 0
    assert weights(stopped) == last and weights(stopped / "stages" / "connector") == first


def test_what_is_wrong_in_one_line(command: Command, recipe: Path, tmp_path: Path) -> None:
    for override, piece in (
        ("student=vlm:petri-student+petri-lm", "random weights"),
        ("student=petri-student", "holds no VLM"),
        ("task.train=tower", "connector"),
        ("evaluate.0.benchmark=vqa", "no benchmark 'vqa'"),
        ("data.train.0.format=karpathy", "not a Karpathy file"),
    ):
        line = command("train", recipe, "--out", tmp_path / "run", override).complaint()
        assert piece in line, line
