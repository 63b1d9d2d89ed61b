"""The recipes' weight of gradient distillation: it pulls about as hard as the task, which the paper's doesn't."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives import gd, info_nce
from clipdistill.recipe_files import load_recipe


def pulls(pairs: int, width: int, teacher_scale: float) -> float:
    """The gradient of GD at weight 1 over that of the task, at the embeddings of a student that has learnt nothing."""
    draws = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, generator=draws), dim=-1)

    # An untrained student sees nearly the same in everything; a teacher's pairs have cosines of 0.5.
    image, text = (F.normalize(noise(width) + 0.3 * noise(pairs, width), dim=1).requires_grad_() for _ in range(2))
    shared = noise(pairs, width)
    taught = [F.normalize(shared + noise(pairs, width), dim=1) for _ in range(2)]
    scale = 1 / 0.07
    losses = gd(image, text, scale, *taught, teacher_scale), info_nce(image, text, scale)
    mine, task = (torch.cat(torch.autograd.grad(loss, (image, text))).norm().item() for loss in losses)
    return mine / task


@pytest.mark.parametrize(("folder", "width", "teacher_scale"), [("clip_kd", 512, 100.0), ("petri/clip_kd", 128, 19.0)])
def test_gd_pulls_about_as_hard_as_the_task(folder: str, width: int, teacher_scale: float) -> None:
    recipes = [load_recipe(f"{folder}/{name}") for name in ("only_gd", "all_terms")]
    weights = [(recipe.task.weights or {})["gd"] for recipe in recipes]
    pairs = recipes[0].train.batch_size
    share = weights[0] * pulls(pairs, width, teacher_scale)
    assert weights[0] == weights[1] and 0.1 < share < 10
    assert 1e8 * pulls(pairs, width, teacher_scale) > 10  # the weight that CLIP-KD prints


def test_the_weight_goes_with_the_square_of_the_batch() -> None:
    assert pulls(128, 128, 19.0) / pulls(512, 128, 19.0) == pytest.approx(16, rel=0.3)
