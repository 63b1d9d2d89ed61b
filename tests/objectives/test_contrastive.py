from __future__ import annotations

import math

import pytest
import torch

from clipdistill.objectives import info_nce, sigmoid_loss

IMAGE = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)  # unit: e1, e2
TEXT = torch.tensor([[5.0, 0.0], [1.0, 1.0]], dtype=torch.float64)  # unit: e1, (e1 + e2) / sqrt 2


def pair(batch: int = 6, dimension: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, dimension, dtype=torch.float64, generator=generator).requires_grad_()
    text = torch.randn(batch, dimension, dtype=torch.float64, generator=generator).requires_grad_()
    return image, text


def test_info_nce_by_hand() -> None:
    # logits at scale 2: [[2, sqrt 2], [0, sqrt 2]]
    root = math.sqrt(2)
    rows = math.log(1 + math.exp(root - 2)) + math.log(1 + math.exp(-root))
    columns = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(root - root))
    assert info_nce(IMAGE, TEXT, 2.0).item() == pytest.approx((rows / 2 + columns / 2) / 2, abs=1e-12)


def test_sigmoid_by_hand() -> None:
    # logits at scale 2, bias -1: [[1, sqrt 2 - 1], [-1, sqrt 2 - 1]]; all but the diagonal should say no
    def softplus(x: float) -> float:
        return math.log(1 + math.exp(x))

    root = math.sqrt(2) - 1
    expected = (softplus(-1) + softplus(root) + softplus(-1) + softplus(-root)) / 2
    assert sigmoid_loss(IMAGE, TEXT, 2.0, -1.0).item() == pytest.approx(expected, abs=1e-12)
    assert sigmoid_loss(IMAGE, TEXT, 2.0).item() == pytest.approx(sigmoid_loss(IMAGE, TEXT, 2.0, 0.0).item())


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
def test_gradients_reach_features_scale_and_bias(loss) -> None:
    image, text = pair(4, 3)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    arguments = (image, text, scale) + ((bias,) if loss is sigmoid_loss else ())
    assert torch.autograd.gradcheck(lambda *a: loss(*a, chunk=3), arguments)


@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 6, 100])
@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
def test_chunked_equals_whole(loss, chunk: int) -> None:
    image, text = pair()
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    whole = loss(image, text, scale)
    pieces = loss(image, text, scale, chunk=chunk)
    assert pieces.item() == pytest.approx(whole.item(), rel=1e-12)
    for expected, found in zip(
        torch.autograd.grad(whole, (image, text, scale)), torch.autograd.grad(pieces, (image, text, scale)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
def test_chunked_never_holds_all_logits(loss, largest_tensor) -> None:
    image, text = pair(batch=64, dimension=2)
    with largest_tensor as largest:
        loss(image, text, 10.0, chunk=4).backward()
    assert largest.numbers <= 4 * 64


@pytest.mark.parametrize("chunk", [None, 4])
def test_a_chunk_keeps_no_logits_for_backward(chunk: int | None) -> None:
    image, text = pair(batch=32, dimension=2)
    kept = []

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        info_nce(image, text, 10.0, chunk=chunk)
    assert (max(kept) > 32 * 2) == (chunk is None)


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
def test_lengths_and_order_of_the_batch_do_not_matter(loss) -> None:
    image, text = pair()
    value = loss(image, text, 5.0).item()
    lengths = torch.arange(1, 7, dtype=torch.float64)[:, None]
    assert loss(image * lengths, text / lengths, 5.0).item() == pytest.approx(value, rel=1e-12)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert loss(image[order], text[order], 5.0).item() == pytest.approx(value, rel=1e-12)
    assert loss(image[order], text, 5.0).item() != pytest.approx(value, rel=1e-3)


def test_info_nce_is_symmetric_and_one_pair_costs_nothing() -> None:
    image, text = pair()
    assert info_nce(image, text, 5.0).item() == pytest.approx(info_nce(text, image, 5.0).item(), rel=1e-12)
    assert info_nce(image[:1], text[:1], 5.0).item() == 0.0


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
@pytest.mark.parametrize("scale", [1e4, 1e-6])
def test_extreme_scales_stay_finite(loss, scale: float) -> None:
    image, text = (tensor.float().detach().requires_grad_() for tensor in pair())
    value = loss(image, text, scale)
    value.backward()
    assert value.isfinite() and image.grad.isfinite().all() and text.grad.isfinite().all()


def test_half_precision_and_autocast_are_raised_to_float32() -> None:
    image, text = (tensor.detach().float() for tensor in pair(8, 16))
    expected = info_nce(image, text, 100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = info_nce(image, text, 100.0)
    assert found.dtype == torch.float32 and found.item() == expected.item()
    assert info_nce(image.half(), text.half(), 100.0).dtype == torch.float32


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
def test_wrong_shapes_are_named(loss) -> None:
    image, text = pair()
    with pytest.raises(ValueError, match=r"image and text must have the same shape, got \[6, 4\] and \[5, 4\]"):
        loss(image, text[:5], 1.0)
    with pytest.raises(ValueError, match=r"image must be a matrix"):
        loss(image[0], text, 1.0)
    with pytest.raises(ValueError, match="empty"):
        loss(image[:0], text[:0], 1.0)
    with pytest.raises(ValueError, match=r"logit_scale must hold one number, got shape \[2\]"):
        loss(image, text, torch.ones(2))
    with pytest.raises(ValueError, match="logit_scale must be positive"):
        loss(image, text, -2.0)
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        loss(image, text, 1.0, chunk=0)
    with pytest.raises(ValueError, match="floating point"):
        loss(image.detach().long(), text, 1.0)


def test_hard_negatives_are_further_choices_of_the_pictures_alone() -> None:
    # logits at scale 2: the third column is the negative (e1 - e2) / sqrt 2, whose cosines are 1/sqrt 2 and -1/sqrt 2
    root = math.sqrt(2)
    rows = math.log(1 + math.exp(root - 2) + math.exp(root - 2)) + math.log(1 + math.exp(-root) + math.exp(-2 * root))
    columns = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(root - root))
    negatives = torch.tensor([[3.0, -3.0]], dtype=torch.float64)
    for chunk in (None, 1):
        found = info_nce(IMAGE, TEXT, 2.0, negatives=negatives, chunk=chunk)
        assert found.item() == pytest.approx((rows / 2 + columns / 2) / 2, abs=1e-12)
    assert info_nce(IMAGE, TEXT, 2.0, negatives=negatives[:0]).item() == info_nce(IMAGE, TEXT, 2.0).item()
