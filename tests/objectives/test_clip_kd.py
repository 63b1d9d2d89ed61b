from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives import afd, contrastive_gradients, crd, fd, gd, icl, info_nce, mfd


def features(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def four(batch: int = 5, width: int = 4, teacher_width: int | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wide = teacher_width or width
    return (
        features(batch, width, seed=1),
        features(batch, width, seed=2),
        features(batch, wide, seed=3),
        features(batch, wide, seed=4),
    )


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


E = torch.eye(2, dtype=torch.float64)


def test_crd_by_hand() -> None:
    # student cosines all 0.5 apart from nothing: flat distribution. Teacher: identity at scale ln 3 -> (3/4, 1/4).
    flat_image = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    flat_text = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert crd(flat_image, flat_text, 9.0, E, E, math.log(3)).item() == pytest.approx(expected, abs=1e-12)


def test_crd_directions_are_averaged_and_transposed() -> None:
    # image->text rows differ from text->image rows here, so a transposed or doubled direction shows
    image, text, taught_image, taught_text = four(3, 2)

    def divergence(anchor: Tensor, contrast: Tensor, taught_anchor: Tensor, taught_contrast: Tensor) -> float:
        total = 0.0
        for i in range(3):
            p = [math.exp(9 * F.cosine_similarity(taught_anchor[i], c, dim=0).item()) for c in taught_contrast]
            q = [math.exp(4 * F.cosine_similarity(anchor[i], c, dim=0).item()) for c in contrast]
            p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
            total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 3
        return total

    forwards = divergence(image, text, taught_image, taught_text)
    backwards = divergence(text, image, taught_text, taught_image)
    assert abs(forwards - backwards) > 1e-3
    found = crd(image, text, 4.0, taught_image, taught_text, 9.0).item()
    assert found == pytest.approx((forwards + backwards) / 2, abs=1e-12)


def test_crd_is_cross_entropy_minus_the_teachers_entropy() -> None:
    image, text, taught_image, taught_text = four(6, 4, teacher_width=7)
    student = 12.0 * F.normalize(image) @ F.normalize(text).T
    teacher = 30.0 * F.normalize(taught_image) @ F.normalize(taught_text).T
    cross = entropy = 0.0
    for mine, theirs in ((student, teacher), (student.T, teacher.T)):
        p = theirs.softmax(1)
        cross -= (p * mine.log_softmax(1)).sum(1).mean().item() / 2
        entropy -= (p * p.log()).sum(1).mean().item() / 2
    assert crd(image, text, 12.0, taught_image, taught_text, 30.0).item() == pytest.approx(cross - entropy, abs=1e-12)


def test_crd_of_the_teacher_itself_is_zero_with_no_gradient() -> None:
    image, text, *_ = four()
    loss = crd(image, text, 20.0, image, text, 20.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-14)
    assert torch.autograd.grad(loss, image)[0].abs().max() < 1e-14


def test_fd_by_hand_is_the_mean_over_batch_and_dimension() -> None:
    student = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    # unit (0.6, 0.8) against (1, 0): 0.16 + 0.64; the second row agrees; over 2 rows x 2 dimensions
    assert fd(student, teacher).mean().item() == pytest.approx(0.8 / 4, abs=1e-12)
    image, teacher = features(5, 4, seed=1), features(5, 4, seed=2)
    cosine = F.cosine_similarity(image, teacher).mean().item()
    assert mfd(image, teacher).mean().item() == pytest.approx((2 - 2 * cosine) / 4, abs=1e-12)


def test_icl_by_hand() -> None:
    # student image finds teacher text, student text finds teacher image: four different sets of unit vectors
    turned = torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    root = math.sqrt(0.5)
    image_to_text = (math.log(1 + math.exp(-2 * root)) + math.log(1 + math.exp(0.0))) / 2
    # image e1, e2 against turned: rows (r, -r) and (r, r); text turned against e1, e2: rows (r, r) and (-r, r)
    text_to_image = (math.log(1 + math.exp(0.0)) + math.log(1 + math.exp(-2 * root))) / 2
    assert icl(E, turned, E, turned, 1.0).item() == pytest.approx((image_to_text + text_to_image) / 2, abs=1e-12)


def test_icl_contrasts_across_models() -> None:
    image, text, taught_image, taught_text = four()
    rows = 9 * F.normalize(image) @ F.normalize(taught_text).T
    others = 9 * F.normalize(text) @ F.normalize(taught_image).T
    labels = torch.arange(5)
    expected = (F.cross_entropy(rows, labels) + F.cross_entropy(others, labels)) / 2
    torch.testing.assert_close(icl(image, text, taught_image, taught_text, 9.0), expected)


def test_icl_takes_the_exponentiated_scale_where_the_released_code_took_the_logarithm() -> None:
    image, text, taught_image, taught_text = four()
    scale = 1 / 0.07
    ours = icl(image, text, taught_image, taught_text, scale).item()
    labels = torch.arange(5)

    def at(multiplier: float) -> float:
        rows = multiplier * F.normalize(image) @ F.normalize(taught_text).T
        others = multiplier * F.normalize(text) @ F.normalize(taught_image).T
        return ((F.cross_entropy(rows, labels) + F.cross_entropy(others, labels)) / 2).item()

    assert ours == pytest.approx(at(scale), rel=1e-12)
    assert ours != pytest.approx(at(math.log(scale)), rel=0.1)


def test_analytic_gradients_are_autograds() -> None:
    image = F.normalize(features(5, 3, seed=1).detach()).requires_grad_()
    text = F.normalize(features(5, 3, seed=2).detach()).requires_grad_()
    labels = torch.arange(5)
    image_to_text = F.cross_entropy(11.0 * image @ text.T, labels)
    text_to_image = F.cross_entropy(11.0 * text @ image.T, labels)
    expected = (
        *torch.autograd.grad(image_to_text, (image, text)),
        *torch.autograd.grad(text_to_image, (text, image)),
    )
    for found, wanted in zip(contrastive_gradients(image, text, 11.0), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-13)


def test_gd_by_hand() -> None:
    # cosines I (student) at scale ln 3: P - Y = 1/4 * [[-1, 1], [1, -1]]; all four gradients are ln3 / 2 * that.
    # teacher: scale ln 9 gives 1/10 * [[-1, 1], [1, -1]] * ln 9 / 2. Difference in each of 4 entries, 4 gradients.
    difference = math.log(3) / 2 * 0.25 - math.log(9) / 2 * 0.1
    assert gd(E, E, math.log(3), E, E, math.log(9)).item() == pytest.approx(4 * difference**2, abs=1e-14)


def test_gd_multiplies_by_the_scale_where_the_released_code_divides() -> None:
    image, text, taught_image, taught_text = four()
    ours = gd(image, text, 20.0, taught_image, taught_text, 50.0).item()
    divided = gd(image, text, 1 / 20.0, taught_image, taught_text, 1 / 50.0).item()
    assert ours > 1e3 * divided
    steeper = gd(image, text, 20.0, taught_image, taught_text, 20.0).item()
    assert ours != pytest.approx(steeper, rel=1e-3)  # each side has its own scale


def test_gd_builds_nothing_larger_than_a_matrix(largest_tensor) -> None:
    image, text, taught_image, taught_text = four(batch=12, width=10)
    with largest_tensor as largest:
        gd(image, text, 20.0, taught_image, taught_text, 50.0).backward()
    assert largest.numbers <= 12 * 12


def test_afd_fuses_normalised_student_then_teacher() -> None:
    image, text, taught_image, taught_text = four(5, 4, teacher_width=6)
    torch.manual_seed(0)
    fuse_image, fuse_text = (torch.nn.Linear(10, 4, dtype=torch.float64) for _ in range(2))
    fused_image = fuse_image(torch.cat([F.normalize(image), F.normalize(taught_image)], 1))
    fused_text = fuse_text(torch.cat([F.normalize(text), F.normalize(taught_text)], 1))
    loss = afd(image, text, taught_image, taught_text, fuse_image, fuse_text, 8.0)
    torch.testing.assert_close(loss, info_nce(fused_image, fused_text, 8.0))
    loss.backward()
    assert fuse_image.weight.grad.abs().sum() > 0 and image.grad.abs().sum() > 0
    assert taught_image.grad is None


CASES = {
    "crd": lambda i, t, s, ti, tt, **k: crd(i, t, s, ti, tt, 9.0, **k),
    "icl": lambda i, t, s, ti, tt, **k: icl(i, t, ti, tt, s, **k),
    "afd": lambda i, t, s, ti, tt, **k: afd(i, t, ti, tt, torch.sin, torch.cos, s, **k),
    "gd": lambda i, t, s, ti, tt: gd(i, t, s, ti, tt, 9.0),
    "fd": lambda i, t, s, ti, tt: (fd(i, ti) + fd(t, tt)).mean() + 0 * s,
}


@pytest.mark.parametrize("name", CASES)
def test_gradcheck(name: str) -> None:
    image, text, taught_image, taught_text = four(4, 3)
    assert torch.autograd.gradcheck(
        lambda i, t, s: CASES[name](i, t, s, taught_image, taught_text), (image, text, number(5.0))
    )


@pytest.mark.parametrize("name", CASES)
def test_lengths_and_order_do_not_matter(name: str) -> None:
    arguments = four()
    image, text, taught_image, taught_text = arguments
    value = CASES[name](image, text, number(5.0), taught_image, taught_text).item()
    scaled = CASES[name](image * 3, text * 0.1, number(5.0), taught_image * 7, taught_text * 0.2).item()
    assert scaled == pytest.approx(value, rel=1e-10)
    order = torch.tensor([4, 2, 0, 1, 3])
    i, t, ti, tt = (tensor[order] for tensor in arguments)
    assert CASES[name](i, t, number(5.0), ti, tt).item() == pytest.approx(value, rel=1e-10)
    assert CASES[name](image, text, number(5.0), ti, tt).item() != pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("name", ["crd", "icl", "afd"])
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunked_equals_whole(name: str, chunk: int) -> None:
    image, text, taught_image, taught_text = four()
    scale = number(5.0)
    whole = CASES[name](image, text, scale, taught_image, taught_text)
    pieces = CASES[name](image, text, scale, taught_image, taught_text, chunk=chunk)
    assert pieces.item() == pytest.approx(whole.item(), rel=1e-12)
    inputs = (image, text, scale)
    for a, b in zip(torch.autograd.grad(whole, inputs), torch.autograd.grad(pieces, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_teacher_gets_no_gradient_and_may_come_from_inference_mode(name: str) -> None:
    image, text, taught_image, taught_text = four()
    CASES[name](image, text, number(5.0), taught_image, taught_text).backward()
    assert taught_image.grad is None and taught_text.grad is None
    with torch.inference_mode():
        frozen_image, frozen_text = taught_image.clone(), taught_text.clone()
    expected, image.grad = image.grad, None
    CASES[name](image, text, number(5.0), frozen_image, frozen_text).backward()
    torch.testing.assert_close(image.grad, expected)


@pytest.mark.parametrize("name", CASES)
def test_large_scales_and_half_precision_stay_finite(name: str) -> None:
    image, text, taught_image, taught_text = (tensor.detach().bfloat16() for tensor in four(6, 8))
    image.requires_grad_()
    scale = torch.tensor(1e4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = CASES[name](image, text, scale, taught_image, taught_text)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and image.grad.isfinite().all()


def test_feature_distance_of_half_precision_is_that_of_the_same_numbers_in_full() -> None:
    student, _, teacher, _ = (tensor.detach().bfloat16() for tensor in four(6, 8))
    assert torch.equal(fd(student, teacher), fd(student.float(), teacher.float()))
    mixed = fd(student.double().requires_grad_(), teacher)
    mixed.sum().backward()  # torch up to 2.11 refuses where a float64 student meets a float32 teacher
    assert mixed.dtype == torch.float64


def test_wrong_shapes_are_named() -> None:
    image, text, taught_image, taught_text = four()
    with pytest.raises(ValueError, match="student and teacher batches differ: 5 and 4 rows"):
        crd(image, text, 1.0, taught_image[:4], taught_text[:4], 1.0)
    with pytest.raises(ValueError, match="teacher image and text must be of one width, got 4 and 3"):
        crd(image, text, 1.0, taught_image, taught_text[:, :3], 1.0)
    with pytest.raises(ValueError, match=r"student and teacher must have the same shape, got \[5, 4\] and \[5, 3\]"):
        fd(image, taught_image[:, :3])
    with pytest.raises(ValueError, match="student image and teacher text must have the same shape"):
        icl(image, text, taught_image[:, :3], taught_text[:, :3], 1.0)
    with pytest.raises(ValueError, match="student image and teacher image must have the same shape"):
        gd(image, text, 1.0, taught_image[:, :3], taught_text[:, :3], 1.0)
