"""What a recipe says of views and locked towers reaches the plan and the student."""

from __future__ import annotations

from typing import Any

import pytest

from clipdistill.errors import UserError
from clipdistill.kinds.dual_encoder import joined_spec
from clipdistill.recipe_files import validate
from clipdistill.runs.data import augment_plan


def recipe(**values: Any) -> Any:
    data = {"train": [{"format": "csv", "path": "nowhere.csv"}], "augment": values.pop("augment", {})}
    return validate({"name": "x", "student": "ViT-T-16", "data": data, **values}, "x")


def test_views_follow_the_recipes_seed_unless_they_have_their_own() -> None:
    views = {"views": 2}
    assert (
        augment_plan(recipe(seed=1, augment=views)).fingerprint() != augment_plan(recipe(augment=views)).fingerprint()
    )
    fixed = {**views, "seed": 5}
    one, other = (augment_plan(recipe(seed=seed, augment=fixed)) for seed in (0, 1))
    assert one == other and one.seed == 5


def test_locked_is_for_joined_students_and_no_part_of_the_model() -> None:
    with pytest.raises(UserError, match="`student`.*`locked` is for a joined model"):
        recipe(student={"model": "ViT-T-16", "locked": ["text"]})
    spec = recipe(student={"image_tower": "lcnet_050", "text_tower": "t", "image_size": 96, "locked": ["text"]}).student
    assert spec.locked == ["text"]
    assert joined_spec(spec)["image_size"] == 96 and "locked" not in joined_spec(spec)
