"""The gradient cache gives the gradient of the whole batch, for every objective, with dropout and BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward, split
from clipdistill.engine.rng import device_states, restore_device_states
from clipdistill.tasks import ClipKD, Contrastive, Task
from tests.tiny import TinyStudent, TinyTeacher, make_batch

ALONE = Ranks(0, 1, torch.device("cpu"))
EVERY_TERM = [*ClipKD.TERMS]


def build(weights: Mapping[str, float], **student: Any) -> Task:
    torch.manual_seed(3)
    teachers = [TinyTeacher(5), TinyTeacher(7, seed=1)] if set(weights) <= {"ensemble", "task"} else [TinyTeacher(5)]
    return ClipKD(TinyStudent(**student), teachers, weights, {"mask_patch": 4}).double()


def gradients(task: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}


def reference(task: Task, batch: Mapping[str, Any], micro: int) -> dict[str, Tensor]:
    """The same losses without a cache: encode the micro-batches with graph, join them, one backward."""
    chunks = split(batch, micro)
    encoded = [{**task.encode(chunk), **task.targets(chunk)} for chunk in chunks]
    whole = {name: torch.cat([features[name] for features in encoded]) for name in encoded[0]}
    terms = task.batch_losses(whole)
    for features, chunk in zip(encoded, chunks, strict=True):
        for name, value in task.sample_losses(features, chunk).items():
            terms[name] = terms.get(name, 0) + value / len(chunks)
    sum(task.weights[name] * value for name, value in terms.items()).backward()
    return {name: value.detach() for name, value in terms.items()}


@pytest.mark.parametrize("term", EVERY_TERM)
@pytest.mark.parametrize("micro", [8, 4, 2])
def test_every_objective_with_dropout(term: str, micro: int) -> None:
    task, batch = build({term: 1.0}, dropout=0.3), make_batch(8)
    state = device_states()
    expected_terms = reference(task, batch, micro)
    expected = gradients(task)
    task.zero_grad(set_to_none=True)
    restore_device_states(state)
    terms = backward(task, batch, ALONE, micro)
    found = gradients(task)
    assert found.keys() == expected.keys() and any(float(g.abs().max()) > 0 for g in found.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    assert terms[term].item() == pytest.approx(expected_terms[term].item(), rel=1e-12)


def test_all_terms_together_equal_one_plain_batch() -> None:
    weights = {term: 0.5 + i for i, term in enumerate(EVERY_TERM) if term not in ("ensemble", "mfd")}
    task, batch = build(weights), make_batch(12)
    terms = backward(task, batch, ALONE, None)
    whole = gradients(task)
    task.zero_grad(set_to_none=True)
    for micro in (6, 4, 3, 1):
        again = backward(task, batch, ALONE, micro)
        for name, gradient in gradients(task).items():
            torch.testing.assert_close(gradient, whole[name], rtol=1e-6, atol=1e-10)
        assert again.keys() == terms.keys()
        task.zero_grad(set_to_none=True)


def test_batch_statistics_count_once() -> None:
    """Each micro-batch is encoded twice; BatchNorm's running mean must move as if it were encoded once."""
    cached, plain = build({"task": 1.0}, norm=True), build({"task": 1.0}, norm=True)
    backward(cached, make_batch(8), ALONE, 4)
    for chunk in split(make_batch(8), 4):
        plain.student.encode_image(chunk["image/student"])
    norm, expected = cached.student.image[1], plain.student.image[1]
    torch.testing.assert_close(norm.running_mean, expected.running_mean)
    assert norm.num_batches_tracked == expected.num_batches_tracked == 2 and norm.momentum == 0.1


def test_teacher_is_asked_once_a_micro_batch() -> None:
    task = build({"crd": 1.0, "fd": 1.0})
    backward(task, make_batch(8), ALONE, 2)
    assert task.teachers[0].calls == 4


def test_random_state_goes_on_as_without_the_replay() -> None:
    task = build({"task": 1.0}, dropout=0.5)
    torch.manual_seed(0)
    backward(task, make_batch(8), ALONE, 4)
    after = torch.rand(3)
    torch.manual_seed(0)
    for chunk in split(make_batch(8), 4):
        task.encode(chunk)
    assert torch.equal(after, torch.rand(3))


def test_sigmoid_loss_trains_scale_and_bias() -> None:
    task = Contrastive(TinyStudent(bias=True), options={"loss": "sigmoid"}).double()
    backward(task, make_batch(8), ALONE, 4)
    found = gradients(task)
    assert found["student.log_logit_scale"].abs() > 0 and found["student.logit_bias"].abs() > 0


def test_split_refuses_a_rest() -> None:
    with pytest.raises(ValueError, match="a batch of 8 can't be cut into micro-batches of 3"):
        split(make_batch(8), 3)
    assert [len(part["sample"]) for part in split(make_batch(8), 4)] == [4, 4]
    assert "bad" not in split(make_batch(8), None)[0]
