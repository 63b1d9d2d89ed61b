"""DCLIP's tasks: the frozen text tower, micro-batches, matching with hard negatives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.meta_teacher import region_inputs
from clipdistill.objectives.cosine import cosine_distance
from clipdistill.objectives.itm import hard_negatives, matching_loss
from clipdistill.tasks import DCLIP, DCLIPTeacher, dclip_teacher

ALONE = Ranks.current()
WIDTH = 8


class FakeInputs:
    """Regions and tokens that depend on the sample's number alone."""

    embed_dim, name, logit_scale = WIDTH, "fake", 10.0

    def targets(self, batch: Any) -> dict[str, Tensor]:
        rows = [torch.Generator().manual_seed(int(i)) for i in batch["sample"]]

        def draw(*shape: int) -> Tensor:
            return torch.stack([torch.randn(*shape, generator=row, dtype=torch.float64) for row in rows])

        count = batch["sample"] % 3 + 1
        return {
            "regions": draw(3, WIDTH), "region_mask": torch.arange(3) < count[:, None],
            "region_scores": draw(3).sigmoid(), "region_areas": draw(3).sigmoid(),
            "tokens": draw(4, WIDTH), "token_mask": torch.arange(4) <= count[:, None], "text": draw(WIDTH),
        }  # fmt: skip


class FakeTeacher:
    """Targets of the width of a student."""

    name, logit_scale = "fake", 10.0

    def __init__(self, width: int) -> None:
        self.embed_dim = width

    def targets(self, batch: Any) -> dict[str, Tensor]:
        torch.manual_seed(3)
        table = torch.randn(2, 64, self.embed_dim)
        return {"image": table[0, batch["sample"]], "text": table[1, batch["sample"]]}


def meta_task(weights: dict[str, float] | None = None, **options: Any) -> DCLIPTeacher:
    torch.manual_seed(0)
    student = DCLIPTeacher.make_student(WIDTH, {"heads": 2, **options}, weights)
    return DCLIPTeacher(student, [FakeInputs()], weights, {"heads": 2, **options}).double()


@pytest.mark.parametrize("weights", [None, {"task": 1.0, "itm": 0.5}])
def test_micro_batches_give_the_gradient_of_the_whole_batch(weights: dict[str, float] | None) -> None:
    found = []
    for micro in (None, 2):
        task = meta_task(weights, clusters=3, rotary=True)
        torch.manual_seed(5)  # of the hard negatives
        terms = backward(task, {"sample": torch.arange(6)}, ALONE, micro)
        found.append(([p.grad for p in task.parameters() if p.grad is not None], terms))
    assert found[0][0]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_mismatches_attend_a_few_at_a_time_with_the_gradient_of_all_at_once(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, rows = [], []
    for limit in (6, 4):
        monkeypatch.setattr(dclip_teacher, "ITM_ROWS", limit)
        task = meta_task({"task": 1.0, "itm": 0.5}, variant=variant)
        rows.clear()
        task.student.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
        torch.manual_seed(5)  # of the hard negatives
        terms = backward(task, {"sample": torch.arange(6)}, ALONE, 2)
        found.append(([p.grad for p in task.parameters() if p.grad is not None], terms))
    assert len(found[0][0]) > 10
    torch.testing.assert_close(found[0], found[1])
    assert max(rows) == 4  # never the whole batch of 6


def test_matching_by_hand_true_pairs_against_the_drawn_captions() -> None:
    task = meta_task({"itm": 1.0})
    features = task.encode({"sample": torch.arange(3)})
    torch.manual_seed(5)
    other = hard_negatives(features["image"], features["text"], 20.0)
    torch.manual_seed(5)
    loss = task.batch_losses(features)["itm"]
    given = FakeInputs().targets({"sample": torch.arange(3)})
    swapped = {k: v[other] if k in ("tokens", "token_mask", "text") else v for k, v in given.items()}
    head, teacher = task.student.itm_head, task.student
    logits = [head(nn.functional.normalize(teacher(*region_inputs(one)), dim=-1)) for one in (given, swapped)]
    right, wrong = (one.log_softmax(dim=1) for one in logits)
    assert loss.item() == pytest.approx(-(right[:, 1].sum() + wrong[:, 0].sum()).item() / 6)


def student_batch(model: Any) -> dict[str, Tensor]:
    torch.manual_seed(2)
    height, width = model.preprocess["size"]
    texts = model.tokenizer(["a red circle", "a blue square", "two green stars", "a small dot"])
    return {
        "sample": torch.arange(4),
        "image/student": torch.randint(0, 256, (4, 3, height, width), dtype=torch.uint8),
        "text/student": texts,
    }


def test_the_text_tower_is_bit_equal_after_steps_and_has_no_gradients() -> None:
    model = create_model("petri-student", 0)
    teacher = FakeTeacher(model.embed_dim)
    weights = {"task": 1.0, "cosine_image": 1.0, "cosine_text": 1.0, "anchor": 1.0, "itm": 1.0}
    task = DCLIP(model, [teacher, teacher], weights)
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    optimizer = torch.optim.AdamW([t.parameter for t in task.trainable()], lr=1e-2)
    for _ in range(2):
        task.train()
        optimizer.zero_grad()
        backward(task, student_batch(model), ALONE, None)
        optimizer.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("clip.visual.") for name in moved)
    assert all(p.grad is None for name, p in model.named_parameters() if not name.startswith("clip.visual."))
    assert model.clip.visual.training
    assert not any(
        module.training for name, module in model.clip.named_modules() if name and not name.startswith("visual")
    )


def test_teachers_are_asked_for_where_a_term_needs_one() -> None:
    with pytest.raises(UserError, match="cosine_image"):
        DCLIP(create_model("petri-student", 0))
    alone = DCLIP(create_model("petri-student", 0), weights={"task": 1.0})
    backward(alone, student_batch(alone.student), ALONE, 2)


def test_negatives_are_never_the_positive_and_prefer_the_similar() -> None:
    torch.manual_seed(0)
    eye = torch.eye(4)
    text = eye.clone()
    text[1] = eye[0]  # picture 0's likeliest mismatch
    drawn = torch.stack([hard_negatives(eye, text, 5.0) for _ in range(200)])
    assert not (drawn == torch.arange(4)).any()
    # Shares of the mismatches 1, 2, 3 are e^5 : 1 : 1.
    assert (drawn[:, 0] == 1).float().mean() > 0.95
    for scale in (1.0, 1000.0):
        assert not (hard_negatives(eye, eye, scale) == torch.arange(4)).any()
    with pytest.raises(ValueError, match="at least two"):
        hard_negatives(eye[:1], eye[:1], 1.0)


def test_the_generator_decides_the_negatives() -> None:
    x = torch.randn(8, 4)
    first, again = (torch.manual_seed(7) and hard_negatives(x, x, 1.0) for _ in range(2))
    assert torch.equal(first, again)


def test_matching_loss_by_hand_and_its_gradient() -> None:
    sure = torch.tensor([[0.0, math.log(3.0)]])  # 3/4 for "belongs together"
    assert matching_loss(sure, sure).item() == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    head = nn.Linear(3, 2).double()
    positive, negative = torch.randn(2, 3).double().requires_grad_(), torch.randn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: matching_loss(head(a), head(b)), (positive, negative))


def test_cosine_distance_by_hand() -> None:
    student, target = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert cosine_distance(student, target).mean().item() == pytest.approx(0.5)


def test_cosine_distance_near_convergence_keeps_its_gradient_under_autocast() -> None:
    """In bfloat16 the gradient of 1 - cos was a quarter off there."""
    torch.manual_seed(0)
    target = torch.randn(4, 64)
    near = (target + 0.02 * torch.randn(4, 64)).requires_grad_()
    cosine_distance(near, target).mean().backward()
    expected, near.grad = near.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        cosine_distance(near, target).mean().backward()
    torch.testing.assert_close(near.grad, expected)
    half = near.detach().bfloat16().requires_grad_()
    assert cosine_distance(half, target.bfloat16()).dtype == torch.float32
