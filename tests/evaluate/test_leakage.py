"""How well a caption is guessed from a target."""

from __future__ import annotations

import pytest
import torch

from clipdistill.evaluate.leakage import caption_from_target, chance_of_own_caption


def test_guesses_by_hand() -> None:
    texts = torch.eye(4)
    owner = torch.tensor([0, 0, 1, 1])
    assert caption_from_target(texts, texts, owner) == {"all": 1.0, "same_picture": 1.0}
    # Nearest caption of row 0 is another picture's, of row 1 its sibling; rows 2 and 3 are right.
    targets = torch.tensor([[2.0, 0, 3, 0], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert caption_from_target(targets, texts, owner) == {"all": 0.5, "same_picture": 0.75}


def test_chance() -> None:
    assert chance_of_own_caption(torch.tensor([0, 0, 1])) == pytest.approx(2 / 3)
