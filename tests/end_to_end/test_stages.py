"""A method of two trainings, defined here and nowhere else: each starts from the student that the one before left."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command
from safetensors.torch import load_file
from test_resuming import numbers, weights
from torch import Tensor

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.trainer import Trainer
from clipdistill.kinds.dual_encoder import DualEncoderKind
from clipdistill.objectives.cosine import cosine_distance
from clipdistill.recipe_files import load_recipe
from clipdistill.runs.derived import trainings
from clipdistill.runs.stages import Export, Fit
from clipdistill.tasks.base import Batch, Features
from clipdistill.tasks.contrastive import Contrastive, ContrastiveOptions


class AdaptedOptions(ContrastiveOptions):
    """Options of the fake method."""

    pull: float = 1.0
    """Factor of `near`."""


class Adapted(Contrastive):
    """Contrast, and a pull of each picture to its own caption that a first stage uses alone."""

    METHOD = "adapted"
    TERMS = {"task": 1.0, "near": 0.0}
    TEACHERS = (0, 1)
    Options = AdaptedOptions
    starts: list[dict[str, Tensor]] = []

    def build(self) -> None:
        """Note what each training is given to start with."""
        self.starts.append({name: value.clone() for name, value in self.student.state_dict().items()})

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """`near`, [B]."""
        if not self.wants("near"):
            return {}
        return {"near": self.settings.pull * cosine_distance(features["image"], features["text"].detach())}


METHOD = "test_stages:Adapted"
ADAPT: dict[str, Any] = {
    "name": "adapt", "task": {"method": METHOD, "weights": {"near": 1.0}, "pull": 2.0}, "teachers": [],
    "train": {"epochs": 1, "lr": 1.0e-2, "warmup_steps": 0},
}  # fmt: skip


@pytest.fixture
def staged(recipe: Path) -> Path:
    """The micro recipe, 3 steps of `adapt` before its 6 of `task`."""
    return write(recipe, [ADAPT, {"name": "task", "task": {"method": METHOD, "weights": {"task": 1, "near": 0.1}}}])


def write(recipe: Path, stages: list[Mapping[str, Any]]) -> Path:
    values = {**yaml.safe_load(recipe.read_text()), "stages": stages, "task": {"method": METHOD}}
    path = recipe.with_name("staged.yaml")
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def noted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, events: list[str]) -> None:
    """Write down when `owner.name` is called."""
    method = getattr(owner, name)

    def called(*arguments: Any, **named: Any) -> Any:
        events.append(name)
        return method(*arguments, **named)

    monkeypatch.setattr(owner, name, called)


def test_the_second_starts_from_what_the_first_left(
    command: Command, staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, events = tmp_path / "run", list[str]()
    for owner, name in ((Export, "run"), (Ranks, "barrier"), (DualEncoderKind, "start_from")):
        noted(monkeypatch, owner, name, events)
    said = command("train", staged, "--out", run)
    assert said.code == 0, said.err
    opened = events.index("start_from")  # by each process, once the first has written it
    assert events[:opened].count("run") == 1 and "barrier" in events[events.index("run") : opened]
    left = load_file(run / "stages" / "adapt" / "student" / "open_clip_model.safetensors")
    begun = Adapted.starts[-1]  # the last task that is made is the one that trains last
    shared = {name.removeprefix("clip."): value for name, value in begun.items() if name.startswith("clip.")}
    assert left.keys() <= shared.keys() and all(value.equal(shared[name]) for name, value in left.items())
    assert weights(run) != weights(run / "stages" / "adapt")
    terms = [{key for key in numbers(folder)[0] if key.startswith("loss/")} for folder in (run / "stages/adapt", run)]
    assert terms == [{"loss/near"}, {"loss/task", "loss/near"}]
    assert [numbers(folder)[-1]["step"] for folder in (run / "stages" / "adapt", run)] == [3, 6]
    assert "stage 1 of 2: micro (adapt)" in said.out and "stage 2 of 2: micro (task)" in said.out


class Killed(BaseException):
    """The process is gone: nothing catches it."""


def killed(*_: Any) -> None:
    raise Killed


def signalled(step: int) -> Any:
    """`Trainer.train_step` that gets a SIGTERM in that step of the run."""
    steps, train_step = 0, Trainer.train_step

    def train(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self, batch)

    return train


def second(method: Any) -> Any:
    """A stage's method that kills the process when it is called for the second time."""
    calls = 0

    def counted(self: Any) -> None:
        nonlocal calls
        calls += 1
        killed() if calls == 2 else method(self)

    return counted


STOPS = {
    "within the first": (Trainer, "train_step", lambda: signalled(2)),
    "before the first is exported": (Export, "run", lambda: killed),
    "between them": (Fit, "run", lambda: second(Fit.run)),
    "within the second": (Trainer, "train_step", lambda: signalled(5)),
    "before the second is exported": (Export, "run", lambda: second(Export.run)),
}


@pytest.fixture(scope="module")
def calm() -> dict[str, Any]:
    """What an undisturbed run left, made once."""
    return {}


@pytest.mark.parametrize("stop", STOPS)
def test_stopped_and_resumed_is_the_run_that_was_left_alone(
    command: Command, staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: dict[str, Any], stop: str
) -> None:
    def left(run: Path) -> dict[str, Any]:
        return {folder: (weights(run / folder), numbers(run / folder)) for folder in ("stages/adapt", ".")}

    often = ["train.checkpoint_every=2", "compare=[]"]
    if not calm:
        assert command("train", staged, *often, "--out", tmp_path / "calm").code == 0
        calm |= left(tmp_path / "calm")
    owner, name, change = STOPS[stop]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, change())
        with contextlib.suppress(Killed):
            assert command("train", staged, *often, "--out", tmp_path / "run").code == 130
    assert not (tmp_path / "run" / "student").exists()
    assert (tmp_path / "run/stages/adapt/student").is_dir() == ("second" in stop or stop == "between them")
    done = command("train", staged, *often, "--out", tmp_path / "run", "--resume")
    assert done.code == 0, done.err
    assert left(tmp_path / "run") == calm


def test_the_plan_shows_both(command: Command, staged: Path, tmp_path: Path) -> None:
    said = command("train", staged, "--plan")
    assert said.code == 0, said.err
    plan = " ".join(said.err.replace("│", " ").split())
    assert f"stage adapt {METHOD}: near x 1; 3 of 16 pairs; no teacher" in plan
    assert f"stage task {METHOD}: task x 1, near x 0.1; 6 of 16 pairs; " in plan
    assert "steps 3" not in plan and not (tmp_path / "store").exists()


TASK = {"name": "task"}
WRONG: list[tuple[list[Mapping[str, Any]], list[str]]] = [
    ([ADAPT, {**TASK, "name": "adapt"}], ["`stages`", "two of them are called 'adapt'"]),
    ([{**ADAPT, "task": {"method": "diffusion"}}, TASK], ["`stages`", "different kinds"]),
    ([{**ADAPT, "train": {"epochss": 1}}, TASK], ["`stages`: adapt", "`train.epochss`", "'epochs'"]),
    ([{**ADAPT, "train": {"lr": "fast"}}, TASK], ["`stages`: adapt", "`train.lr`", "'fast'"]),
    ([{**ADAPT, "data": {"agument": 1}}, TASK], ["`stages`: adapt", "`data.agument`", "'augment'"]),
    ([{**ADAPT, "train": {"batch_size": 64}}, TASK], ["`stages.0.train.batch_size` is 64", "48"]),
    ([{**ADAPT, "task": {"weights": {"nera": 1}}}, TASK], ["`stages`: adapt", "`task.weights.nera`", "'near'"]),
    ([ADAPT, {**TASK, "task": {"pul": 1}}], ["`stages`: task", "`pul`", "'pull'"]),
    ([ADAPT, {**TASK, "task": {"method": "clip_kd"}, "teachers": []}], ["`stages`: task", "needs a teacher"]),
    ([ADAPT, {**TASK, "task": {"method": "test_stages:Gone"}}], ["`stages`: task", "test_stages:Gone", "imported"]),
    ([{**ADAPT, "student": "ViT-B-32"}, TASK], ["`stages.0.student`", "teachers"]),
    ([{**ADAPT, "name": "../up"}, TASK], ["`stages.0.name`", "'../up'"]),
    ([{"train": {}}, TASK], ["`stages.0.name`", "missing"]),
]


@pytest.mark.parametrize(("stages", "wanted"), WRONG, ids=lambda each: each[-1] if isinstance(each[0], str) else "")
def test_wrong_stages_in_one_line(
    command: Command, recipe: Path, tmp_path: Path, stages: list[Mapping[str, Any]], wanted: list[str]
) -> None:
    line = command("train", write(recipe, stages), "--out", "run").complaint()
    for piece in wanted:
        assert piece in line, line
    assert list((tmp_path / "here").iterdir()) == [] and not (tmp_path / "store").exists()


def test_a_stage_keeps_what_it_does_not_name(recipe: Path) -> None:
    flipped = {**ADAPT, "task": {"weights": {"near": 1.0}}, "data": {"augment": {"flip": 0.5}}}
    first, second = trainings(load_recipe(write(recipe, [flipped, TASK])))
    assert first.task.method == second.task.method == METHOD and first.task.options() == {}
    augment = first.data.augment
    assert (augment.flip, augment.crop_scale, augment.views) == (0.5, (0.5, 1.0), 2)  # the recipe's, but for one key
    assert second.data.augment.flip == 0.0 and (first.train.epochs, second.train.epochs) == (1, 2)
    assert (first.train.log_every, first.evaluate, first.stages, len(second.teachers)) == (1, [], [], 1)
