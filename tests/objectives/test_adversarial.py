"""VILLA's adversarial step: by hand on two tokens, against an unrolled loop, on a fusion model."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipdistill.objectives.adversarial import adversarial_backward, adversarial_losses, symmetric_kl
from tests.models.tiny_fusion import ARCHITECTURES, tiny_fusion, tiny_inputs

WORDS = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64)  # one sample, two tokens of one channel


def two_tokens(weight: Tensor) -> tuple[object, object]:
    """Logits (w1 x1 + w2 x2, 0); the right class is the first."""

    def score(shifts: dict[str, Tensor]) -> Tensor:
        x = WORDS + shifts.get("words", 0.0)
        right = (x[..., 0] * weight).sum(1)
        return torch.stack([right, torch.zeros_like(right)], dim=1)

    return score, lambda logits: -logits.log_softmax(1)[:, 0]


def test_by_hand_on_two_tokens() -> None:
    weight = torch.tensor([0.6, -0.8], dtype=torch.float64, requires_grad=True)
    score, loss = two_tokens(weight)
    task, divergence = adversarial_losses(
        score,
        loss,
        {"words": torch.zeros_like(WORDS)},
        {"words": 0.5},
        steps=2,
        kl_weight=0.0,  # type: ignore[arg-type]
    )
    # z = 0.6 * 1 - 0.8 * 2 = -1. The loss log(1 + e^-z) falls along w, whose norm is 1: the shift is -0.5 * w, so
    # z' = -1 - 0.5 = -1.5.
    first, second = math.log(1 + math.e), math.log(1 + math.exp(1.5))
    assert task.item() == pytest.approx((first + second) / 2, abs=1e-12)
    p, q = 1 / (1 + math.e), 1 / (1 + math.exp(1.5))
    # KL both ways is (p - q)(z - z'), over two classes, since the log odds differ by z - z'; the first pass has 0.
    assert divergence.item() == pytest.approx((p - q) * 0.5 / 2 / 2, abs=1e-12)
    (gradient,) = torch.autograd.grad(task.mean(), weight)
    # d loss / dz = -(1 - p); dz / dw = x, and in the second pass x + shift with the shift held fixed.
    shift = [-0.3, 0.4]
    expected = [-((1 - p) * x + (1 - q) * (x + d)) / 2 for x, d in zip((1.0, 2.0), shift, strict=True)]
    assert gradient.tolist() == pytest.approx(expected, abs=1e-12)


def test_divergence_by_hand_and_its_reductions() -> None:
    a, b = torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64), torch.zeros(1, 2).double()
    # (1/4, 3/4) against (1/2, 1/2): (1/4 - 1/2) log(1/2) + (3/4 - 1/2) log(3/2)
    by_hand = 0.25 * math.log(2) + 0.25 * math.log(1.5)
    assert symmetric_kl(a, b, "sum").item() == pytest.approx(by_hand, abs=1e-12)
    assert symmetric_kl(a, b).item() == pytest.approx(by_hand / 2, abs=1e-12)
    both = F.kl_div(a.log_softmax(1), b.softmax(1), reduction="none") + F.kl_div(
        b.log_softmax(1), a.softmax(1), reduction="none"
    )
    assert symmetric_kl(a, b, "sum").item() == pytest.approx(both.sum().item(), abs=1e-12)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.regions, self.out = (nn.Linear(a, b).double() for a, b in ((3, 5), (4, 5), (5, 3)))
        self.x, self.v = torch.randn(4, 2, 3).double(), torch.randn(4, 6, 4).double()
        self.y = torch.tensor([0, 2, 1, 2])

    def forward(self, shifts: dict[str, Tensor]) -> Tensor:
        said = self.words(self.x + shifts.get("words", 0.0)).tanh().sum(1)
        seen = self.regions(self.v + shifts.get("regions", 0.0)).tanh().sum(1)
        found: Tensor = self.out(said * seen)
        return found

    def loss(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, self.y, reduction="none")


SIZES = {"words": 0.3, "regions": 0.1}


def unrolled(model: Small, names: tuple[str, ...], steps: int, weight: float, alternate: bool) -> float:
    """The authors' loop, written out: gradients pile up in `.grad`, the batch's mean is differentiated."""
    whole = {"words": torch.zeros_like(model.x), "regions": torch.zeros_like(model.v)}
    shifts = {name: whole[name] for name in names}
    plain = model({})
    total = 0.0
    for step in range(steps):
        shifts = {name: value.clone().detach().requires_grad_() for name, value in shifts.items()}
        loss: Tensor | float = 0.0
        groups = [(name,) for name in names] if alternate else [names]
        for group in groups:
            logits = model({name: shifts[name] for name in group})
            kl = F.kl_div(logits.log_softmax(1), plain.softmax(1), reduction="none")
            kl = kl + F.kl_div(plain.log_softmax(1), logits.softmax(1), reduction="none")
            loss = loss + (F.cross_entropy(logits, model.y) + weight * kl.mean()) / len(groups)
        (loss / steps).backward(retain_graph=True)  # type: ignore[union-attr]
        total += float(loss.detach()) / steps  # type: ignore[union-attr]
        if step < steps - 1:
            for name, value in shifts.items():
                assert value.grad is not None
                norms = value.grad.view(4, -1).norm(dim=1).view(-1, 1, 1)
                shifts[name] = value + SIZES[name] * value.grad / norms
    return total


@pytest.mark.parametrize("names", [("words",), ("regions",), ("words", "regions")])
@pytest.mark.parametrize("alternate", [False, True])
def test_gradients_of_both_ways_are_the_unrolled_loops(names: tuple[str, ...], alternate: bool) -> None:
    model = Small()
    total = unrolled(model, names, 3, 1.5, alternate)
    expected = {name: value.grad for name, value in model.named_parameters()}
    zeros = {"words": torch.zeros_like(model.x), "regions": torch.zeros_like(model.v)}
    given = {name: zeros[name] for name in names}
    for way in ("losses", "backward"):
        model.zero_grad()
        if way == "losses":
            task, divergence = adversarial_losses(model, model.loss, given, SIZES, kl_weight=1.5, alternate=alternate)
            assert task.shape == divergence.shape == (4,)
            (task.mean() + 1.5 * divergence.mean()).backward()
        else:
            task, divergence = adversarial_backward(model, model.loss, given, SIZES, kl_weight=1.5, alternate=alternate)
            assert not task.requires_grad and not divergence.requires_grad
        assert (task.mean() + 1.5 * divergence.mean()).item() == pytest.approx(total, abs=1e-12)
        for name, value in model.named_parameters():
            torch.testing.assert_close(value.grad, expected[name], rtol=1e-9, atol=1e-12)


def test_one_pass_is_plain_training_and_shifts_hurt() -> None:
    model = Small()
    zeros = {"words": torch.zeros_like(model.x), "regions": torch.zeros_like(model.v)}
    task, divergence = adversarial_losses(model, model.loss, zeros, SIZES, steps=1)
    torch.testing.assert_close(task, model.loss(model({})), rtol=0, atol=1e-12)
    assert divergence.abs().max() < 1e-15
    more, _ = adversarial_losses(model, model.loss, zeros, {"words": 1e-3, "regions": 1e-3}, steps=3, kl_weight=0.0)
    assert (more > task).all()


def test_it_works_where_gradients_are_off_and_says_what_is_wrong() -> None:
    model = Small()
    zeros = {"words": torch.zeros_like(model.x)}
    with torch.no_grad():
        quiet, _ = adversarial_losses(model, model.loss, zeros, SIZES)
    torch.testing.assert_close(quiet, adversarial_losses(model, model.loss, zeros, SIZES)[0])
    with pytest.raises(ValueError, match="at least one input"):
        adversarial_losses(model, model.loss, {}, SIZES)
    with pytest.raises(ValueError, match="none for words"):
        adversarial_losses(model, model.loss, zeros, {"regions": 1.0})
    with pytest.raises(ValueError, match="two classes or more"):
        adversarial_losses(lambda shifts: model(shifts)[:, :1], model.loss, zeros, SIZES)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_fusion_models_words_and_region_features_are_shifted(architecture: str) -> None:
    model, inputs = tiny_fusion(architecture, dropout=0.0, attention_dropout=0.0), tiny_inputs()
    labels = torch.tensor([0, 2, 1])

    def score(shifts: dict[str, Tensor], rows: slice = slice(None)) -> Tensor:
        part = inputs[rows]
        output = model(part, word_shift=shifts.get("words"), region_shift=shifts.get("regions"))
        return model.scores("snli_ve", output, part)

    zeros = {"words": torch.zeros(3, 7, 16).double(), "regions": torch.zeros(3, 4, 6).double()}
    task, divergence = adversarial_losses(
        score, lambda logits: F.cross_entropy(logits, labels, reduction="none"), zeros, {"words": 0.1, "regions": 0.1}
    )
    plain = F.cross_entropy(score({}), labels, reduction="none")
    assert (task > plain).all() and (divergence > 0).all()
    # micro-batches: each sample's terms are its own
    for row in range(3):
        one = slice(row, row + 1)
        alone, apart = adversarial_losses(
            lambda shifts, one=one: score(shifts, one),
            lambda logits, one=one: F.cross_entropy(logits, labels[one], reduction="none"),
            {name: value[one] for name, value in zeros.items()},
            {"words": 0.1, "regions": 0.1},
        )
        torch.testing.assert_close(alone, task[one], rtol=0, atol=1e-10)
        torch.testing.assert_close(apart, divergence[one], rtol=0, atol=1e-10)
    # padding is never shifted
    moved = torch.zeros(3, 7, 16, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(score({"words": moved}).sum(), moved)
    assert gradient[~inputs.text_mask].abs().max() == 0 and gradient[inputs.text_mask].abs().max() > 0
