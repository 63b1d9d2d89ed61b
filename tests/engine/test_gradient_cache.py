"""The gradient cache gives the gradient of the whole batch, for every objective, with dropout and BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.engine.micro_batches import split
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
            terms[name] = terms.get(name, 0) + value.mean() / len(chunks)
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
    with pytest.raises(ValueError, match="can't be cut"):
        split(make_batch(8), 3)
    assert [len(part["sample"]) for part in split(make_batch(8), 4)] == [4, 4]


def test_split_cuts_what_is_ragged_or_nested_and_drops_nothing() -> None:
    batch = {
        "sample": torch.arange(4), "words": [["a"], [], ["b", "c"], ["d"]], "note": None, "step": 7,
        "choices": {"tokens": torch.arange(8).view(4, 2), "right": (0, 1, 0, 1)},
    }  # fmt: skip
    first, second = split(batch, 2)
    assert first["words"] == [["a"], []] and second["words"] == [["b", "c"], ["d"]]
    assert second["choices"]["tokens"].tolist() == [[4, 5], [6, 7]] and second["choices"]["right"] == (0, 1)
    assert first["note"] is None and second["step"] == 7 and first.keys() == batch.keys()
    with pytest.raises(ValueError, match="`choices.right` has 2 entries in a batch of 4"):
        split({**batch, "choices": {"right": [0, 1]}}, 2)
    with pytest.raises(ValueError, match="`words` is a set"):
        split({**batch, "words": {"a"}}, 2)


class Masked(Contrastive):
    """A sample term that is a mean over some of the samples only, and a gate that isn't."""

    TERMS = {"masked": 1.0, "gated": 1.0}

    def batch_losses(self, features: Any) -> dict[str, Tensor]:
        return {}

    def sample_losses(self, features: Any, batch: Any) -> dict[str, Tensor]:
        squares = features["image"].square().sum(1)
        return {"masked": squares, "gated": squares * (batch["sample"] % 3 == 0)}

    def sample_weights(self, features: Any, batch: Any) -> dict[str, Tensor]:
        return {"masked": batch["weight"]}


@pytest.mark.parametrize("micro", [None, 4, 2, 1])
def test_masked_and_gated_terms_do_not_depend_on_the_micro_batch(micro: int | None) -> None:
    torch.manual_seed(3)
    task = Masked(TinyStudent()).double()
    batch = make_batch(8) | {"weight": torch.tensor([0.0, 0, 1, 0, 2, 3, 0, 1]).double()}
    squares = task.encode(batch)["image"].square().sum(1)
    masked = (squares * batch["weight"]).sum() / 7
    gated = (squares * (batch["sample"] % 3 == 0)).sum() / 8
    (masked + gated).backward()
    expected = gradients(task)
    task.zero_grad(set_to_none=True)
    terms = backward(task, batch, ALONE, micro)
    assert terms["masked"].item() == pytest.approx(masked.item(), rel=1e-12)
    assert terms["gated"].item() == pytest.approx(gated.item(), rel=1e-12)
    for name, gradient in gradients(task).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-14)


def test_weights_that_are_all_zero_make_a_term_zero() -> None:
    task = Masked(TinyStudent()).double()
    terms = backward(task, make_batch(8) | {"weight": torch.zeros(8).double()}, ALONE, 4)
    assert terms["masked"].item() == 0 and all(g.isfinite().all() for g in gradients(task).values())


def test_sample_losses_must_be_a_number_a_sample() -> None:
    task = Masked(TinyStudent()).double()
    task.sample_losses = lambda features, batch: {"masked": features["image"].mean()}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="`masked`: sample_losses must give one number a sample"):
        backward(task, make_batch(8) | {"weight": torch.ones(8)}, ALONE, 4)


class Drawing(Contrastive):
    """A batch term that draws, as matching with hard negatives does."""

    drawn: list[float]

    def batch_losses(self, features: Any) -> dict[str, Tensor]:
        self.drawn.append(torch.rand(()).item())
        return super().batch_losses(features)


@pytest.mark.parametrize("micro", [None, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.2])  # a meta-teacher has none: nothing else moves the generator on
def test_what_batch_terms_draw_differs_from_step_to_step(micro: int | None, dropout: float) -> None:
    task = Drawing(TinyStudent(dropout=dropout)).double()
    task.drawn = []
    torch.manual_seed(0)
    for _ in range(3):
        backward(task, make_batch(8), ALONE, micro)
    assert len(set(task.drawn)) == 3


class Listing(Contrastive):
    """A feature that isn't a tensor."""

    def encode(self, batch: Any) -> Any:
        return {**super().encode(batch), "words": ["a"] * len(batch["sample"])}


def test_a_feature_that_is_no_tensor_is_refused_by_name_unless_it_is_not_gathered() -> None:
    task = Listing(TinyStudent()).double()
    with pytest.raises(TypeError, match="`words`"):
        backward(task, make_batch(8), ALONE, 4)
    task.gathers = lambda name: name != "words"  # type: ignore[method-assign]
    assert backward(task, make_batch(8), ALONE, 4)["task"].item() > 0
