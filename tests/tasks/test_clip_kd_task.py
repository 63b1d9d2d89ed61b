"""The CLIP-KD task: which terms, which projections, what trains and what stays frozen."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from clipdistill.errors import UserError
from clipdistill.objectives.clip_kd import crd, fd, icl
from clipdistill.tasks import TASKS, ClipKD, Contrastive, LockedTuning
from clipdistill.tasks.contrastive import MAX_LOGIT_SCALE
from clipdistill.tasks.teacher import LiveTeacher
from tests.tiny import TinyStudent, TinyTeacher, make_batch


def all_losses(task: Any, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    features = {**task.encode(batch), **task.targets(batch)}
    samples = {name: values.mean() for name, values in task.sample_losses(features, batch).items()}
    return {**task.batch_losses(features), **samples}


def test_default_terms_and_weights_are_clip_kds() -> None:
    task = ClipKD(TinyStudent(), [TinyTeacher()]).double()
    assert task.weights == {"task": 1.0, "crd": 1.0, "fd": 2000.0, "icl": 1.0}
    assert set(all_losses(task, make_batch())) == set(task.weights)


@pytest.mark.parametrize("term", [*ClipKD.TERMS])
def test_a_term_alone_gives_that_loss_alone(term: str) -> None:
    task = ClipKD(TinyStudent(), [TinyTeacher()], {term: 1.0}, {"mask_patch": 4}).double()
    losses = all_losses(task, make_batch())
    assert list(losses) == [term] and losses[term].ndim == 0 and math.isfinite(losses[term].item())


def test_projections_only_where_widths_differ() -> None:
    same = ClipKD(TinyStudent(embed_dim=6), [TinyTeacher(6)])
    other = ClipKD(TinyStudent(embed_dim=6), [TinyTeacher(9)])
    relational = ClipKD(TinyStudent(embed_dim=6), [TinyTeacher(9)], {"crd": 1.0})
    assert isinstance(same.project_image, nn.Identity)
    assert other.project_image.weight.shape == other.project_text.weight.shape == (9, 6)
    assert not hasattr(relational, "project_image")  # a relation needs no common space


def test_terms_equal_the_objectives_on_projected_features() -> None:
    task = ClipKD(TinyStudent(), [TinyTeacher(9)]).double()
    batch = make_batch()
    image, text = task.student.encode_image(batch["image/student"]), task.student.encode_text(batch["text/student"])
    t_image, t_text = task.teachers[0].image[:8], task.teachers[0].text[:8]
    p_image, p_text = task.project_image(image), task.project_text(text)
    losses = all_losses(task, batch)
    torch.testing.assert_close(losses["crd"], crd(image, text, task.student.logit_scale, t_image, t_text, 20.0))
    torch.testing.assert_close(losses["fd"], (fd(p_image, t_image) + fd(p_text, t_text)).mean())
    torch.testing.assert_close(losses["icl"], icl(p_image, p_text, t_image, t_text, torch.tensor(1 / 0.07)))


def test_the_mask_reaches_the_features() -> None:
    """In the released code the masked features are overwritten by those of the whole picture."""
    torch.manual_seed(0)
    masked = ClipKD(TinyStudent(), [TinyTeacher()], {"mfd": 1.0}, {"mask_patch": 4, "mask_ratio": 0.75}).double()
    features = masked.encode(make_batch())
    assert not torch.allclose(features["masked_image"], features["image"])
    nothing = ClipKD(TinyStudent(), [TinyTeacher()], {"mfd": 1.0}, {"mask_patch": 4, "mask_ratio": 0.0}).double()
    features = nothing.encode(make_batch())
    torch.testing.assert_close(features["masked_image"], features["image"])


def test_the_icl_scale_is_exponentiated_and_clamped() -> None:
    task = ClipKD(TinyStudent(), [TinyTeacher()], {"icl": 1.0})
    assert task.icl_logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    with torch.no_grad():
        task.icl_logit_scale.fill_(9.0)
        task.student.log_logit_scale.fill_(9.0)
    task.after_step()
    assert task.icl_logit_scale.item() == task.student.log_logit_scale.item() == pytest.approx(MAX_LOGIT_SCALE)


def test_several_teachers_only_in_an_ensemble() -> None:
    with pytest.raises(UserError, match=r"`task.weights.crd` works with one teacher, not 2; use `ensemble`"):
        ClipKD(TinyStudent(), [TinyTeacher(), TinyTeacher(seed=1)], {"crd": 1.0})
    ClipKD(TinyStudent(), [TinyTeacher(), TinyTeacher(4, seed=1)], {"ensemble": 1.0, "task": 0.5})


def test_users_mistakes_in_one_line() -> None:
    with pytest.raises(UserError, match=r"no such term. Did you mean 'crd'\?"):
        ClipKD.check_weights({"crdd": 1.0})
    with pytest.raises(UserError, match="every weight is 0"):
        ClipKD.check_weights({"crd": 0.0})
    with pytest.raises(UserError, match=r"unknown key `mask_rato`. Did you mean 'mask_ratio'\?"):
        ClipKD.check_options({"mask_rato": 0.5})
    with pytest.raises(UserError, match="clip_kd needs a teacher"):
        ClipKD(TinyStudent(), [])


class TinyModel(TinyStudent):
    """A live teacher of the tiny kind."""

    name = "tiny"


def test_a_live_teacher_stays_frozen_and_outside_the_checkpoint() -> None:
    model = TinyModel(dropout=0.5, norm=True).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task = ClipKD(TinyStudent(), [LiveTeacher(model, "student")]).double()
    task.train()
    batch = make_batch()
    sum(all_losses(task, batch).values()).backward()
    assert not model.training and all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    theirs = {id(p) for p in model.parameters()}
    assert not theirs & {id(p) for p in task.parameters()}
    assert set(task.state_dict()) == {
        *(f"student.{name}" for name in TinyStudent().state_dict()), "icl_logit_scale"
    }  # fmt: skip
    assert not theirs & {id(item.parameter) for item in task.trainable()}


def test_methods_by_name() -> None:
    family = {"contrastive": Contrastive, "clip_kd": ClipKD, "lit": LockedTuning}
    assert family.items() <= TASKS.items()


class Joined(nn.Module):
    """A joined student whose towers pass features through."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_dim = 3
        self.project_image, self.project_text = nn.Linear(5, 3), nn.Linear(5, 3)
        self.logit_scale, self.logit_bias = torch.tensor(10.0), None
        self.asked = 0

    def image_tower_features(self, pixels: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return pixels

    text_tower_features = image_tower_features


def test_locked_tuning_reads_tower_features_from_a_store() -> None:
    torch.manual_seed(0)
    teacher = TinyTeacher(5)
    stored, live = LockedTuning(Joined(), [teacher]).double(), LockedTuning(Joined()).double()
    live.load_state_dict(stored.state_dict())
    batch = {"sample": torch.arange(6), "image/student": teacher.image[:6], "text/student": teacher.text[:6]}
    features = stored.encode({"sample": torch.arange(6)})
    for name, value in live.encode(batch).items():
        torch.testing.assert_close(features[name], value)
    assert stored.student.asked == 0 and stored.targets(batch) == {}
    assert list(stored.batch_losses(features)) == ["task"]
