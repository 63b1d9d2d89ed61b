from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives import affinity_mimicking, crd, ensemble_kd


def features(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


E = torch.eye(2, dtype=torch.float64)
FLAT_IMAGE, FLAT_TEXT = E[[0, 0]], E[[1, 1]]  # every cosine 0: a flat distribution
STUDENT = features(5, 4, seed=1), features(5, 4, seed=2)
TEACHERS = [
    (features(5, 3, seed=3), features(5, 3, seed=4), 4.0),
    (features(5, 6, seed=5), features(5, 6, seed=6), 40.0),
]
IMAGES, TEXTS, SCALES = [t[0] for t in TEACHERS], [t[1] for t in TEACHERS], [t[2] for t in TEACHERS]


def distributions(image: Tensor, text: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    logits = scale * F.normalize(image) @ F.normalize(text).T
    return logits.softmax(1), logits.T.softmax(1)


def test_affinity_by_hand_is_a_cross_entropy_summed_over_directions() -> None:
    # teacher (3/4, 1/4) both ways at scale ln 3; student (2/3, 1/3) at scale ln 2
    expected = 2 * -(0.75 * math.log(2 / 3) + 0.25 * math.log(1 / 3))
    found = affinity_mimicking(E, E, math.log(2), E, E, math.log(3))
    assert found.item() == pytest.approx(expected, abs=1e-12)
    released = affinity_mimicking(E, E, math.log(2), E, E, math.log(3), variant="released")
    assert released.item() == pytest.approx(expected / 2, abs=1e-12)


def test_affinity_is_crd_plus_the_teachers_entropy() -> None:
    image, text = STUDENT
    taught_image, taught_text, scale = TEACHERS[0]
    entropy = sum(torch.special.entr(p).sum(1).mean().item() for p in distributions(taught_image, taught_text, scale))
    found = affinity_mimicking(image, text, 7.0, taught_image, taught_text, scale)
    divergence = crd(image, text, 7.0, taught_image, taught_text, scale)
    assert found.item() == pytest.approx(2 * divergence.item() + entropy, abs=1e-12)
    ours, theirs = torch.autograd.grad(found, STUDENT), torch.autograd.grad(divergence, STUDENT)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, 2 * b, rtol=1e-10, atol=1e-13)


def test_ensemble_by_hand_averages_after_the_softmax() -> None:
    # teachers at scales ln 3 and ln 9 on the same cosines: (3/4, 1/4) and (9/10, 1/10); mean (0.825, 0.175)
    found = ensemble_kd(FLAT_IMAGE, FLAT_TEXT, 3.0, [E, E], [E, E], [math.log(3), math.log(9)])
    expected = 0.825 * math.log(0.825 / 0.5) + 0.175 * math.log(0.175 / 0.5)
    assert found.item() == pytest.approx(expected, abs=1e-12)
    before = math.sqrt(27) / (1 + math.sqrt(27))  # averaged logits: scale (ln 3 + ln 9) / 2
    other = before * math.log(before / 0.5) + (1 - before) * math.log((1 - before) / 0.5)
    assert found.item() != pytest.approx(other, rel=0.01)


def test_one_teacher_is_crd() -> None:
    image, text = STUDENT
    expected = crd(image, text, 7.0, IMAGES[0], TEXTS[0], SCALES[0])
    torch.testing.assert_close(ensemble_kd(image, text, 7.0, IMAGES[:1], TEXTS[:1], SCALES[:1]), expected)


def test_ensemble_against_the_papers_mean_of_divergences() -> None:
    image, text = STUDENT
    found = ensemble_kd(image, text, 7.0, IMAGES, TEXTS, SCALES)
    paper = torch.stack([crd(image, text, 7.0, i, t, s) for i, t, s in TEACHERS]).mean()
    assert found.item() < paper.item()  # the divergence is convex
    for a, b in zip(torch.autograd.grad(found, STUDENT), torch.autograd.grad(paper, STUDENT), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_ensemble_is_zero_for_a_student_that_says_the_same() -> None:
    image, text = STUDENT
    loss = ensemble_kd(image, text, 9.0, [image, image], [text, text], [9.0, 9.0])
    assert loss.item() == pytest.approx(0.0, abs=1e-14)


def affinity(image: Tensor, text: Tensor, scale: Tensor, chunk: int | None = None) -> Tensor:
    return affinity_mimicking(image, text, scale, *TEACHERS[0], chunk=chunk)


def ensemble(image: Tensor, text: Tensor, scale: Tensor, chunk: int | None = None) -> Tensor:
    return ensemble_kd(image, text, scale, IMAGES, TEXTS, SCALES, chunk=chunk)


@pytest.mark.parametrize("loss", [affinity, ensemble])
def test_gradcheck_and_chunks(loss) -> None:
    scale = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    inputs = (*STUDENT, scale)
    assert torch.autograd.gradcheck(loss, inputs)
    whole = loss(*inputs)
    for chunk in (1, 3):
        pieces = loss(*inputs, chunk)
        assert pieces.item() == pytest.approx(whole.item(), rel=1e-12)
        expected = torch.autograd.grad(whole, inputs, retain_graph=True)
        for a, b in zip(expected, torch.autograd.grad(pieces, inputs), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert all(tensor.grad is None for tensor in IMAGES + TEXTS)


def test_large_scales_stay_finite() -> None:
    image, text = (tensor.detach().float().requires_grad_() for tensor in STUDENT)
    teachers = [tensor.detach().half() for tensor in IMAGES], [tensor.detach().half() for tensor in TEXTS]
    for loss in (
        ensemble_kd(image, text, 1e4, *teachers, [1e4, 1e4]),
        affinity_mimicking(image, text, 1e4, teachers[0][0], teachers[1][0], 1e4),
    ):
        (gradient,) = torch.autograd.grad(loss, image)
        assert loss.isfinite() and gradient.isfinite().all()


def test_wrong_arguments_are_named() -> None:
    image, text = STUDENT
    with pytest.raises(ValueError, match="2 images, 1 texts and 2 scales"):
        ensemble_kd(image, text, 1.0, IMAGES, TEXTS[:1], SCALES)
    with pytest.raises(ValueError, match="0 images"):
        ensemble_kd(image, text, 1.0, [], [], [])
    with pytest.raises(ValueError, match="teacher 1 image and teacher 1 text"):
        ensemble_kd(image, text, 1.0, IMAGES, [TEXTS[0], TEXTS[0]], SCALES)
    with pytest.raises(ValueError, match="variant must be 'paper' or 'released'"):
        affinity_mimicking(image, text, 1.0, image, text, 1.0, variant="other")  # type: ignore[arg-type]
