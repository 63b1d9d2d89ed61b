"""Our losses against open_clip's own classes: value and gradient, in float64."""

from __future__ import annotations

import pytest
import torch
from open_clip.loss import ClipLoss, DistillClipLoss, SigLipLoss
from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives import affinity_mimicking, crd, ensemble_kd, info_nce, sigmoid_loss


@pytest.fixture
def student() -> tuple[Tensor, ...]:
    """Un-normalised image and text features [7, 5], the logarithm of the scale and a bias; all want gradients."""
    generator = torch.Generator().manual_seed(0)
    image, text = (3 * torch.randn(7, 5, dtype=torch.float64, generator=generator) for _ in range(2))
    log_scale, bias = torch.tensor(2.3, dtype=torch.float64), torch.tensor(-4.0, dtype=torch.float64)
    return tuple(tensor.requires_grad_() for tensor in (image, text, log_scale, bias))


@pytest.fixture
def teacher() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, text = (torch.randn(7, 9, dtype=torch.float64, generator=generator) for _ in range(2))
    return image, text, torch.tensor(25.0, dtype=torch.float64)


def agree(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
    same_gradient(ours, theirs, inputs)


def same_gradient(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
    expected = torch.autograd.grad(theirs, inputs, retain_graph=True)
    for found, wanted in zip(torch.autograd.grad(ours, inputs, retain_graph=True), expected, strict=True):
        assert wanted.abs().max() > 1e-6
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 3])
def test_info_nce_is_clip_loss(student: tuple[Tensor, ...], chunk: int | None) -> None:
    image, text, log_scale, _ = student
    theirs = ClipLoss()(F.normalize(image), F.normalize(text), log_scale.exp())
    agree(info_nce(image, text, log_scale.exp(), chunk=chunk), theirs, (image, text, log_scale))


@pytest.mark.parametrize("chunk", [None, 3])
def test_sigmoid_is_siglip_loss(student: tuple[Tensor, ...], chunk: int | None) -> None:
    image, text, log_scale, bias = student
    theirs = SigLipLoss()(F.normalize(image), F.normalize(text), log_scale.exp(), bias)
    agree(sigmoid_loss(image, text, log_scale.exp(), bias, chunk=chunk), theirs, student)


def distilled(student: tuple[Tensor, ...], teacher: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """open_clip's distillation cross-entropy, and the teacher's entropy that it contains."""
    image, text, log_scale, _ = student
    taught = F.normalize(teacher[0]), F.normalize(teacher[1])
    _, cross = DistillClipLoss()(F.normalize(image), F.normalize(text), log_scale.exp(), *taught, teacher[2])
    logits = teacher[2] * taught[0] @ taught[1].T
    entropy = sum(torch.special.entr(side.softmax(1)).sum(1).mean() for side in (logits, logits.T)) / 2
    return cross, torch.as_tensor(entropy)


@pytest.mark.parametrize("chunk", [None, 3])
def test_crd_is_the_distillation_loss_minus_the_teachers_entropy(student, teacher, chunk: int | None) -> None:
    image, text, log_scale, _ = student
    cross, entropy = distilled(student, teacher)
    assert entropy > 0.05
    agree(crd(image, text, log_scale.exp(), *teacher, chunk=chunk), cross - entropy, (image, text, log_scale))


def test_affinity_mimicking_released_is_the_distillation_loss(student, teacher) -> None:
    image, text, log_scale, _ = student
    cross, _ = distilled(student, teacher)
    released = affinity_mimicking(image, text, log_scale.exp(), *teacher, variant="released")
    agree(released, cross, (image, text, log_scale))


def test_ensemble_of_one_has_the_distillation_gradient(student, teacher) -> None:
    image, text, log_scale, _ = student
    cross, _ = distilled(student, teacher)
    ours = ensemble_kd(image, text, log_scale.exp(), *([part] for part in teacher))
    same_gradient(ours, cross, (image, text, log_scale))
