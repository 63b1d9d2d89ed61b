"""The loop: steps, resuming bit for bit, bad samples, broken losses, signals, metrics."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from clipdistill.engine.checkpoint import list_checkpoints
from clipdistill.engine.rng import seed_everything
from clipdistill.engine.tracking import read_metrics
from clipdistill.engine.trainer import Trainer
from clipdistill.errors import Interrupted, UserError
from clipdistill.recipe import Recipe
from clipdistill.tasks import ClipKD
from tests.tiny import TinyLoader, TinyStudent, TinyTeacher


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPDISTILL_QUIET", "1")


def recipe(**train: Any) -> Recipe:
    settings = {
        "epochs": 3,
        "batch_size": 8,
        "lr": 1e-2,
        "warmup_steps": 2,
        "checkpoint_every": 3,
        "log_every": 2,
    } | train
    return Recipe.model_validate(
        {"name": "tiny", "data": {"train": [{"format": "csv"}]}, "student": "tiny", "train": settings}
    )


def trainer(folder: Path, loader: TinyLoader | None = None, seed: int = 0, samples: int = 0, **train: Any) -> Trainer:
    seed_everything(seed)
    folder.mkdir(exist_ok=True)
    task = ClipKD(TinyStudent(dropout=0.2, norm=True), [TinyTeacher(5)]).double()
    return Trainer(task, loader or TinyLoader(), recipe(**train), folder, flops_per_pair=1e3, samples=samples)


def weights(made: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.task.state_dict().items()}


def stop_at(step: int) -> Any:
    def on_step(at: int) -> None:
        if at == step:
            raise KeyboardInterrupt

    return on_step


def without_times(folder: Path) -> list[dict[str, Any]]:
    times = ("seconds", "samples_per_second", "mfu", "peak_memory_mb")
    return [{k: v for k, v in line.items() if k not in times} for line in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize("killed_at", [3, 4, 5, 8, 11])
@pytest.mark.parametrize("extra", [{}, {"ema": 0.9, "micro_batch": 2}])
def test_killed_and_resumed_equals_undisturbed(tmp_path: Path, killed_at: int, extra: dict[str, Any]) -> None:
    straight = trainer(tmp_path / "straight", **extra)
    straight.fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "killed", **extra).fit(on_step=stop_at(killed_at))
    resumed = trainer(tmp_path / "killed", seed=99, **extra)  # another start: all must come from the checkpoint
    resumed.fit(resume=True)
    assert resumed.step == straight.step == 12
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert without_times(tmp_path / "straight") == without_times(tmp_path / "killed")


def test_a_damaged_last_checkpoint_falls_back(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    made.fit()
    newest = list_checkpoints(made.checkpoints)[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    again = trainer(tmp_path / "run", seed=4)
    again.fit(resume=True)
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(made).items())


def test_only_the_last_good_checkpoints_are_kept(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run", checkpoint_every=2, keep_checkpoints=3)
    made.fit()
    assert [path.name for path in list_checkpoints(made.checkpoints)] == [f"step-{s:08d}.pt" for s in (8, 10, 12)]
    assert not list(made.checkpoints.glob(".*"))


def test_what_a_kill_left_behind_the_newest_goes_when_the_run_goes_on(tmp_path: Path) -> None:
    """Killed between the newest checkpoint's name and the end of the one before, which nothing would delete later."""
    made = trainer(tmp_path / "run", checkpoint_every=6, keep_checkpoints=2)
    made.fit()
    older, newest = list_checkpoints(made.checkpoints)
    content = newest.read_bytes()
    newest.write_bytes(b"torn")
    trainer(tmp_path / "run", checkpoint_every=6, keep_checkpoints=1)._restore()
    assert list_checkpoints(made.checkpoints) == [older, newest]  # for nothing but a good one is another deleted
    newest.write_bytes(content)
    trainer(tmp_path / "run", checkpoint_every=6, keep_checkpoints=1).fit(resume=True)
    assert list_checkpoints(made.checkpoints) == [newest]


def test_resuming_another_recipe_names_the_keys(tmp_path: Path) -> None:
    trainer(tmp_path / "run").fit()
    with pytest.raises(UserError, match=r"checkpoint of another recipe; these keys differ: train\.lr\."):
        trainer(tmp_path / "run", lr=2e-2).fit(resume=True)


def test_free_keys_may_change_on_resuming(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run").fit(on_step=stop_at(7))
    again = trainer(tmp_path / "run", keep_checkpoints=1, checkpoint_every=5)
    again.fit(resume=True)
    assert again.step == 12


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint(tmp_path: Path, number: int) -> None:
    made = trainer(tmp_path / "run", checkpoint_every=100)
    with pytest.raises(Interrupted, match="stopped after step 6 of 12"):
        made.fit(on_step=lambda step: os.kill(os.getpid(), number) if step == 5 else None)
    assert [path.name for path in list_checkpoints(made.checkpoints)] == ["step-00000006.pt"]


def test_a_loss_that_is_not_finite_stops_with_its_name(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run", checkpoint_every=2)

    def poison(step: int) -> None:
        if step == 3:
            with torch.no_grad():
                made.task.project_image.weight.fill_(float("nan"))

    with pytest.raises(UserError, match=r"step 3: `icl` is nan; samples of the batch start \[24, 25"):
        made.fit(on_step=poison)
    assert [path.name for path in list_checkpoints(made.checkpoints)] == ["step-00000002.pt"]


def test_bad_samples_are_listed_once_and_stop_past_the_share(tmp_path: Path) -> None:
    one = {"id": "a/1", "reason": "truncated"}
    made = trainer(tmp_path / "run", TinyLoader(bad={1: [one]}), samples=1000)
    made.fit()
    lines = (tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [one]  # met in each of three epochs, listed once
    many = [{"id": f"a/{i}", "reason": "truncated"} for i in range(11)]
    with pytest.raises(UserError, match=r"11 of 1000 samples can't be read, more than data.max_bad_share = 0.01"):
        trainer(tmp_path / "stop", TinyLoader(bad={1: many}), samples=1000).fit()


def test_metrics_name_every_term(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run", log_every=5)
    made.fit()
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [5, 10, 12]
    for line in lines:
        total = sum(made.task.weights[term] * line[f"loss/{term}"] for term in ("task", "crd", "fd", "icl"))
        assert line["loss"] == pytest.approx(total)
        assert line["samples_per_second"] > 0 and line["mfu"] > 0 and line["peak_memory_mb"] > 0


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not one step can be made"):
        trainer(tmp_path / "run", TinyLoader(steps_per_epoch=0))


def test_tensorboard_when_asked(tmp_path: Path) -> None:
    trainer(tmp_path / "run", trackers=["tensorboard"]).fit()
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))


def test_bad_samples_met_again_after_resuming_are_listed_once(tmp_path: Path) -> None:
    bad = {2: [{"id": "a/2", "reason": "truncated"}], 3: [{"id": "a/3", "reason": "lying"}]}
    with pytest.raises(KeyboardInterrupt):  # after a/3 was met and before the next checkpoint
        trainer(tmp_path / "run", TinyLoader(bad=bad), samples=1000).fit(on_step=stop_at(4))
    trainer(tmp_path / "run", TinyLoader(bad=bad), samples=1000).fit(resume=True)
    lines = (tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a/2", "a/3"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run", checkpoint_every=3)

    def poison(step: int) -> None:
        if step == 5:
            made.task.student.words.weight.data[0, 0] = float("inf")
            with pytest.raises(UserError, match=r"`student.words.weight` has values that are not finite"):
                made.save()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.fit(on_step=poison)
    assert [path.name for path in list_checkpoints(made.checkpoints)] == ["step-00000003.pt"]
