"""Alignment and uniformity by hand."""

from __future__ import annotations

import math

import pytest
import torch

from clipdistill.evaluate.likeness.alignment import alignment, uniformity


def at(*degrees: float, length: float = 1.0) -> torch.Tensor:
    return torch.tensor([[length * math.cos(math.radians(d)), length * math.sin(math.radians(d))] for d in degrees])


def test_alignment_by_hand() -> None:
    """Squared distances 0, 2 and 4; lengths don't matter."""
    image, text = at(10, 0, 45), at(10, 90, 225, length=7)
    assert alignment(image, text) == pytest.approx(2, abs=1e-6)
    assert alignment(image, text, alpha=1) == pytest.approx((0 + math.sqrt(2) + 2) / 3, abs=1e-6)


def test_uniformity_by_hand() -> None:
    """A triangle's corners have squared distance 3; of a square, four pairs have 2 and two have 4."""
    assert uniformity(at(0, 120, 240, length=3)) == pytest.approx(-6, abs=1e-6)
    square = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert uniformity(at(0, 90, 180, 270)) == pytest.approx(square, abs=1e-6)
    assert uniformity(at(0, 90, 180, 270), t=1) == pytest.approx(math.log((4 * math.exp(-2) + 2 * math.exp(-4)) / 6))
    assert uniformity(at(30, 30, 30)) == pytest.approx(0, abs=1e-6)


def test_uniformity_is_the_same_in_any_chunks() -> None:
    points = torch.randn(37, 5, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(points.double(), dim=1)
    expected = float(torch.pdist(unit).square().mul(-2).exp().mean().log())
    for chunk in (1, 5, 37, 100):
        assert uniformity(points, chunk=chunk) == pytest.approx(expected, abs=1e-12)
    assert math.isnan(uniformity(points[:1]))
