"""A diffusion teacher and SDS-CLIP through the command line: trained, stopped, resumed, distilled, scored, reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command
from safetensors.torch import load_file

from clipdistill.engine.trainer import Trainer
from clipdistill.models import load_model
from clipdistill.petri import write_world


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 pictures of two things, two test pictures, three swaps in the formats of Winoground and ARO."""
    folder = tmp_path_factory.mktemp("pairs") / "petri"
    write_world(
        folder, images=16, val=1, test=2, seed=0, image_size=32, zero_shot=1, scenes="pairs", compositional=3,
        formats=("karpathy", "winoground", "aro"),
    )  # fmt: skip
    return folder


@pytest.fixture
def diffusion(pairs: Path, tmp_path: Path) -> Path:
    """Two steps of a diffusion model."""
    return write(
        tmp_path / "diffusion.yaml",
        name="micro/diffusion", student="petri-diffusion", task={"method": "diffusion"},
        data=data(pairs), train=training(ema=0.5), compare=[],
        evaluate=[{"suite": "compositional", "data": str(pairs), "samples": 1}],
    )  # fmt: skip


def data(pairs: Path) -> dict[str, Any]:
    train = [{"format": "karpathy", "path": str(pairs / "dataset_petri.json"), "split": "train"}]
    return {"train": train, "augment": {"crop_scale": None}, "workers": 0}


def training(**more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 8, "lr": 1e-3, "log_every": 1, "checkpoint_every": 1, **more}


def write(path: Path, **values: Any) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def weights(run: Path) -> dict[str, torch.Tensor]:
    parts = {part: load_file(run / "student" / part / file) for part, file in UNET_AND_TEXT}
    return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}


UNET_AND_TEXT = [("unet", "diffusion_pytorch_model.safetensors"), ("text_encoder", "model.safetensors")]


def test_a_stopped_diffusion_training_ends_with_the_same_bits_and_teaches_a_clip(
    command: Command, diffusion: Path, pairs: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    said = command("train", diffusion, "--out", whole)
    assert said.code == 0, said.err[-3000:]

    step = Trainer.train_step

    def stop_after_one(self: Trainer, batch: Any) -> Any:
        self._stop = True
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", stop_after_one)
        assert command("train", diffusion, "--out", cut).code == 130
    assert command("train", diffusion, "--out", cut, "--resume").code == 0
    expected, found = weights(whole), weights(cut)
    assert expected.keys() == found.keys() and all(torch.equal(found[name], value) for name, value in expected.items())

    found = json.loads((whole / "evaluation.json").read_text())["models"]["student"]
    names = {result["data"] for result in found["results"]}
    assert names == {"winoground", "aro/relation", "aro/attribution"} and found["parameters"] > 1e6

    # The run is the teacher of a CLIP, named by its folder.
    recipe = write(
        tmp_path / "sds.yaml",
        name="micro/sds", student=str(teacher), teachers=[{"model": str(whole)}],
        task={"method": "sds_clip", "weights": {"task": 1, "sds": 0.001, "features": 0.1}},
        data={**data(pairs), "hard_negatives": 1}, train=training(micro_batch=4),
        evaluate=[
            {"suite": "retrieval", "data": f"karpathy:{pairs / 'dataset_petri.json'}@test"},
            {"suite": "compositional", "data": str(pairs), "samples": 1},
        ],
        compare=["teacher", "base", "control"],
    )  # fmt: skip
    out = tmp_path / "sds"
    said = command("train", recipe, "--out", out)
    assert said.code == 0, said.err[-3000:]
    models = json.loads((out / "evaluation.json").read_text())["models"]
    assert set(models) == {"teacher", "base", "control", "student"}
    assert {result["evaluator"] for result in models["teacher"]["results"]} == {"winoground", "aro"}
    assert {result["evaluator"] for result in models["student"]["results"]} == {"retrieval", "winoground", "aro"}
    assert "winoground" in (out / "report.md").read_text() and (out / "report.html").is_file()
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["loss/sds"] > 0 and last["loss/features"] > 0

    base, student, control = (load_model(path).clip.state_dict() for path in (teacher, out, out / "control"))
    changed = {name for name, value in base.items() if not torch.equal(value, student[name])}
    assert changed and all(".ln_" in name or "ln_" in name.split(".")[0] for name in changed), changed
    assert any(not torch.equal(student[name], control[name]) for name in changed)

    said = command("evaluate", whole, "--suite", "compositional", "--data", pairs, "--option", "samples=1")
    assert said.code == 0 and "winoground" in said.out, said.err[-3000:]
    line = command("evaluate", whole, "--suite", "retrieval", "--data", f"karpathy:{pairs / 'dataset_petri.json'}")
    assert "this is a denoiser" in line.complaint()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teachers": [{"model": "petri-teacher"}]}, ["teachers.0", "unet"]),
        ({"teachers": [{"model": "petri-diffusion", "store": "store"}]}, ["teachers.0.store", "no targets to store"]),
        ({"teachers": [{"model": "no-such/diffusion"}]}, ["teachers.0", "hf download"]),
        ({"teachers": []}, ["teachers", "needs a diffusion model"]),
        ({"task": {"method": "sds_clip", "t_range": [0.9, 0.1]}}, ["`task`", "t_range", "low < high"]),
        (
            {"student": "petri-difusion", "teachers": [], "task": {"method": "diffusion"}},
            ["petri-difusion", "Did you mean"],
        ),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(
    command: Command, pairs: Path, teacher: Path, tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    values: dict[str, Any] = {
        "name": "micro/sds", "student": str(teacher), "teachers": [{"model": "petri-diffusion"}],
        "task": {"method": "sds_clip"}, "data": data(pairs), "train": training(), "compare": [],
    }  # fmt: skip
    line = command(
        "train", write(tmp_path / "sds.yaml", **{**values, **changes}), "--out", tmp_path / "out"
    ).complaint()
    assert all(word in line for word in words), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["samples=many", "samples=0", "t_range=0.5", "t_range=[0.9, 0.1]"])
def test_wrong_options_of_the_diffusion_score_are_one_line(command: Command, pairs: Path, option: str) -> None:
    said = command("evaluate", "petri-diffusion", "--suite", "compositional", "--data", pairs, "--option", option)
    assert f"--option: compositional: `{option.partition('=')[0]}`" in said.complaint()
