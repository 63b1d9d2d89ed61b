"""The recipes of VLMs: TinyLLaVA's values, two stages of one kind, and controls that differ in the tower alone."""

from __future__ import annotations

import math

import pytest

from clipdistill.models.vlm_names import VLMName, weights_of
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import load_recipe, recipe_names
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.derived import trainings
from clipdistill.tasks.vlm import VLMOptions

NAMES = [name for name in recipe_names() if name.startswith(("vlm/", "petri/vlm/"))]
CAPTIONS, MIX = 558_128, 665_298  # LLaVA's two files


def test_rates_are_tinyllavas() -> None:
    connector, tuning = trainings(load_recipe("vlm/vit_b16"))
    assert (connector.train.lr, connector.train.batch_size, connector.task.options()["train"]) == (
        1e-3,
        256,
        "connector",
    )
    assert (tuning.train.lr, tuning.train.batch_size, tuning.task.options()["train"]) == (2e-5, 128, "connector_lm")
    assert [one.task.options()["style"] for one in (connector, tuning)] == ["plain", "chat"]
    for each, size in ((connector, CAPTIONS), (tuning, MIX)):
        steps = size // each.train.batch_size
        assert each.train.warmup_steps == math.ceil(0.03 * steps)
        assert (each.train.epochs, each.train.schedule, each.train.weight_decay) == (1, "cosine", 0.0)
        assert (each.train.betas, each.train.eps, each.train.clip_norm) == ((0.9, 0.999), 1e-8, 1.0)
        assert each.train.precision == "bf16" and each.data.augment.crop_scale is None
    assert VLMOptions().max_tokens == 2048


@pytest.mark.parametrize("name", NAMES)
def test_each_is_whole(name: str) -> None:
    recipe = load_recipe(name)
    check_recipe(recipe)
    assert recipe.student.model is not None
    VLMName.read(recipe.student.model)
    assert [one.task.method for one in trainings(recipe)] == ["vlm", "vlm"]


def test_controls_differ_in_the_tower_alone() -> None:
    def rest(name: str) -> dict[str, object]:
        recipe: Recipe = load_recipe(name)
        return recipe.model_dump(exclude={"name", "about", "student"})

    for folder in ("vlm", "petri/vlm"):
        names = [name for name in NAMES if name.startswith(f"{folder}/")]
        assert len(names) >= 4 and all(rest(name) == rest(names[0]) for name in names)


def test_weights_that_a_name_needs() -> None:
    assert weights_of("vlm:ViT-B-16:openai+Qwen/Qwen2-0.5B") == ["ViT-B-16:openai", "Qwen/Qwen2-0.5B"]
    assert weights_of("vlm:drop-first:runs/a+b+petri-lm") == ["runs/a+b"]
    assert (
        weights_of("vlm:random:ViT-T-16+Qwen/Qwen2-0.5B")
        == ["Qwen/Qwen2-0.5B"]
        == weights_of("vlm:blind+Qwen/Qwen2-0.5B")
    )
    assert weights_of("vlm:nothing") == []
