"""Linear probes on region features: right where the features tell, at chance where they don't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.evaluate.region_probes import linear_probe, probe_regions
from clipdistill.stores.regions import StoredRegions


class Store:
    """Pictures of two regions whose features tell their colour and not their shape; the first couldn't be read."""

    path = Path("made")

    def __init__(self, seed: int, pictures: int = 60, width: int = 8) -> None:
        draw = np.random.default_rng(seed)
        self.meta = {"embed_dim": width, "max_regions": 2}
        self.ids, self.bad = [str(k) for k in range(pictures)], {"0": "torn"}
        self.colours, self.shapes = draw.integers(0, 3, (pictures, 2)), draw.integers(0, 2, (pictures, 2))
        self.features = draw.standard_normal((pictures, 2, width)).astype(np.float32)
        self.features[..., :3] = 50 * np.eye(3)[self.colours] - 7  # of another size than the rest
        self.features[..., 3] = 2.0  # never changes

    def lookup(self, rows: Any, limit: int) -> dict[str, np.ndarray]:
        assert 0 not in rows
        return {"features": self.features[rows], "mask": np.ones((len(rows), limit), bool)}

    def regions(self, row: int) -> StoredRegions:
        names = ["red", "green", "blue"], ["star", "ring"]
        pairs = zip(self.colours[row], self.shapes[row], strict=True)
        labels = tuple(f"{names[0][c]} {names[1][s]}" for c, s in pairs)
        return StoredRegions(np.zeros((2, 4)), np.ones(2), labels)


def test_a_probe_finds_what_the_features_hold() -> None:
    found = probe_regions(Store(0), Store(1), {"colour": ["red", "green", "blue"], "shape": ["star", "ring"]})
    assert found["colour"]["accuracy"] == 1.0 and found["colour"]["classes"] == 3
    assert found["shape"]["accuracy"] < 0.7 and 0.5 <= found["shape"]["chance"] < 0.65
    assert found["colour"]["train"] == found["colour"]["test"] == 118


def test_regions_without_a_word_are_left_out_and_names_are_classes_by_themselves() -> None:
    found = probe_regions(Store(0), Store(1), {"colour": ["red", "green"]})
    blue = int((Store(0).colours[1:] == 2).sum())
    assert found["colour"]["train"] == 118 - blue and found["colour"]["accuracy"] == 1.0
    assert probe_regions(Store(0), Store(1))["class"]["classes"] == 6


def test_logistic_regression_on_a_line() -> None:
    """One feature; the boundary lies between 3 and 5, and the mean of 4 goes to it."""
    x, labels = torch.tensor([[1.0], [3.0], [5.0], [7.0]]), torch.tensor([0, 0, 1, 1])
    test = torch.tensor([[3.9], [4.1], [-100.0], [100.0]])
    assert linear_probe(x, labels, test, torch.tensor([0, 1, 0, 1]), 2) == 1.0
    assert linear_probe(x, labels, test, torch.tensor([1, 0, 0, 1]), 2) == 0.5


def test_what_cannot_be_probed_is_said() -> None:
    with pytest.raises(UserError, match="features of a width of 9, and the probe's have 8"):
        probe_regions(Store(0), Store(1, width=9))
    with pytest.raises(UserError, match="no region's class name has one of the words of 'size'"):
        probe_regions(Store(0), Store(1), {"size": ["small", "large"]})
