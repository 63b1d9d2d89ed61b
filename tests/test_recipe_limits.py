"""Settings that could never train are refused where the recipe is read, in one line that names the field."""

from __future__ import annotations

import pytest

from clipdistill.errors import UserError
from clipdistill.recipe_files import load_recipe
from clipdistill.tasks import find_task


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("train.eps=.inf", "train.eps"),
        ("train.eps=2", "train.eps"),
        ("train.lr=.nan", "train.lr"),
        ("train.lr=.inf", "train.lr"),
        ("train.min_lr=0.5", "min_lr"),
        ("train.weight_decay=.inf", "train.weight_decay"),
        ("train.clip_norm=1e-300", "train.clip_norm"),
        ("train.betas=[2, 3]", "train.betas"),
        ("train.betas=[0.9, 1.0]", "train.betas"),
        ("train.ema=.nan", "train.ema"),
        ("data.max_bad_share=.nan", "data.max_bad_share"),
    ],
)
def test_what_cant_train_is_refused(override: str, field: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe("petri/dclip", [override])
    assert field in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_weight_below_nothing_is_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"`task.weights.task`: .* isn't a weight; give a number of at least 0"):
        find_task("clip_kd").check_weights({"task": value, "fd": 1.0})
    assert find_task("clip_kd").check_weights({"task": 0, "fd": 1.0}) == {"fd": 1.0}
