"""Kinds of models: found by what a model or a folder is, and a later stage starts as the recipe has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipdistill.evaluate.suites import SUITES
from clipdistill.export import save_student
from clipdistill.kinds import KINDS, kind_of, open_trained
from clipdistill.models import JoinedEncoder, create_model
from clipdistill.models.fusion import create_fusion
from clipdistill.models.meta_teacher import MetaTeacher
from clipdistill.models.vlm import start_vlm
from clipdistill.recipe import ModelSpec
from clipdistill.tasks import TASKS
from tests.models.tiny_diffusion import tiny_diffusion
from tests.models.tiny_models import write_text_tower


def test_each_kind_saves_what_it_opens_again_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    models = {
        "dual_encoder": create_model("petri-tiny-student", seed=3), "denoiser": tiny_diffusion(),
        "meta_teacher": MetaTeacher(8, heads=2), "fusion": create_fusion("petri-uniter", seed=3),
        "vlm": start_vlm("vlm:random:petri-student+petri-lm-tiny", seed=3),
    }  # fmt: skip
    assert models.keys() == KINDS.keys()
    for name, model in models.items():
        kind = kind_of(model)
        assert kind.name == name
        kind.save(model, tmp_path / name)
        again = open_trained(tmp_path / name)
        assert kind_of(again) is kind
        assert again.state_dict().keys() == model.state_dict().keys()
        for key, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[key], value), (name, key)
        assert kind.cost(again)["parameters"] == sum(p.numel() for p in model.parameters())


def test_fingerprints_see_a_weight(tmp_path: Path) -> None:
    save_student(create_model("petri-tiny-student", seed=3), tmp_path / "a")
    model = open_trained(tmp_path / "a")
    before = kind_of(model).fingerprint(model)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    assert kind_of(model).fingerprint(model) != before


def test_tasks_and_suites_name_kinds_that_exist() -> None:
    assert {task.KIND for task in TASKS.values()} | {task.TEACHER_KIND for task in TASKS.values()} <= KINDS.keys()
    assert {kind for suite in SUITES.values() for kind in suite.KINDS} <= KINDS.keys()


class Towers(JoinedEncoder):
    """A joined model that only notes what is locked."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.told: dict[str, bool] = {}

    def lock_towers(self, **which: bool) -> None:
        self.told = which


def test_a_later_stage_keeps_a_joined_students_towers_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS["dual_encoder"]
    monkeypatch.setattr(kind, "load", lambda *_: Towers())
    spec = ModelSpec(image_tower="resnet18", text_tower="bert", locked=["text"])
    assert kind.start_from(Path("stages/one/student"), spec).told == {"image": False, "text": True}


def test_a_joined_model_that_is_opened_has_the_same_projections_every_time(tmp_path: Path) -> None:
    write_text_tower(tmp_path / "text")
    spec = ModelSpec(image_tower="test_efficientnet", text_tower=str(tmp_path / "text"), embed_dim=12)
    torch.manual_seed(1)
    first, before = KINDS["dual_encoder"].open(spec), torch.rand(1)
    torch.manual_seed(2)
    second = KINDS["dual_encoder"].open(spec)
    state = second.state_dict()
    drawn = [name for name in state if "proj" in name and "blocks" not in name]
    assert drawn and all(torch.equal(value, state[name]) for name, value in first.state_dict().items() if name in drawn)
    torch.manual_seed(1)
    assert torch.rand(1).item() == before.item()  # and nothing is drawn from the run's own numbers
