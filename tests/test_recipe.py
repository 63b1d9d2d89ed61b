"""Recipes: the shipped ones, `extends`, overrides, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clipdistill.errors import UserError
from clipdistill.recipe import ModelSpec
from clipdistill.recipe_files import differences, load_recipe, recipe_names, validate
from clipdistill.report.paper import paper_table
from clipdistill.runs.evaluation import check_suites
from clipdistill.runs.wiring import check_recipe

NAMES = recipe_names()
PAPER = [name for name in NAMES if name.startswith("clip_kd/")]


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe(name: str) -> None:
    recipe = load_recipe(name)
    check_recipe(recipe)
    if not name.startswith("real/"):  # whose class names lie beside the pictures
        check_suites(recipe)
    assert recipe.name == name and recipe.about
    assert validate(yaml.safe_load(recipe.to_yaml()), "again") == recipe
    if recipe.paper is not None:
        assert paper_table(recipe.paper).rows


@pytest.mark.parametrize("name", PAPER)
def test_every_paper_recipe_has_a_petri_twin_that_trains_on_the_same_terms(name: str) -> None:
    paper, twin = load_recipe(name), load_recipe(f"petri/{name}")
    assert twin.petri is not None and twin.task.method == paper.task.method
    ours, theirs = twin.task.weights or {}, paper.task.weights or {}
    assert ours.keys() == theirs.keys() and len(twin.teachers) == len(paper.teachers)


def test_the_experiments_that_are_asked_for_are_there() -> None:
    made = {
        f"{s}_from_{t}" for s in ("vit_t16", "vit_s16", "rn50", "mobileclip") for t in ("vit_b16", "vit_l14", "siglip")
    }
    made |= {f"only_{term}" for term in ("crd", "fd", "icl", "gd", "afd", "mfd")}
    made |= {"all_terms", "no_task", "tinyclip", "mobileclip_reinforced", "baseline"}
    assert {f"clip_kd/{name}" for name in made} <= set(NAMES)


def test_clip_kd_rates_are_the_papers() -> None:
    train = load_recipe("clip_kd/vit_t16_from_vit_b16").train
    assert (train.lr, train.weight_decay, train.warmup_steps, train.epochs, train.batch_size) == (
        1e-3, 0.1, 10_000, 32, 1024
    )  # fmt: skip
    assert load_recipe("clip_kd/vit_t16_from_vit_b16").task.weights == {"task": 1, "crd": 1, "fd": 2000, "icl": 1}
    assert load_recipe("clip_kd/only_gd").task.weights == {"task": 1, "gd": 1e8}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(
        "name: base\nstudent: petri-student\nteachers: [petri-teacher, {model: other}]\n"
        "data: {train: [{format: csv, path: a.csv}, {format: coco, path: b.json}]}\n"
        "task: {weights: {task: 1, crd: 1}}\ntrain: {epochs: 3, lr: 0.5}\n"
    )
    (tmp_path / "child.yaml").write_text(
        "\ufeffextends: base\nname: child\ntask: {weights: {fd: 2}, chunk: 8}\ntrain: {lr: 0.25}\n", encoding="utf-8"
    )
    return tmp_path


def test_a_child_overrides_its_parent(base: Path) -> None:
    recipe = load_recipe(base / "child.yaml")
    assert (recipe.name, recipe.train.epochs, recipe.train.lr) == ("child", 3, 0.25)
    assert recipe.task.weights == {"fd": 2} and recipe.task.options() == {"chunk": 8}
    assert len(recipe.data.train) == 2


def test_overrides(base: Path) -> None:
    recipe = load_recipe(
        base / "base.yaml",
        ["train.lr=3e-4", "data.train.1.count=7", "student.model=RN50", "teachers.0.store=here", "train.clip_norm=null",
         "task.weights.crd=0", "data.augment.crop_scale=[0.5, 1]", "evaluate=[{suite: petri, data: w}]"],
    )  # fmt: skip
    assert recipe.train.lr == 3e-4 and recipe.train.clip_norm is None and recipe.student.model == "RN50"
    assert [spec.count for spec in recipe.data.train] == [None, 7]
    assert recipe.teachers[0].model == "petri-teacher" and recipe.teachers[0].store == Path("here")
    assert recipe.task.weights == {"task": 1, "crd": 0} and recipe.data.augment.crop_scale == (0.5, 1.0)
    assert load_recipe(base / "base.yaml").train.lr == 0.5


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("train.epoch=1", "unknown key `train.epoch`. Did you mean 'epochs'?"),
        ("data.train.0.count=0", "`data.train.0.count`"),
        ("data.augment.views=two", "(got 'two')"),
        ("train.lr.value=x", "has no keys"),
        ("teachers.7.model=x", "list of 2"),
        ("student.image_tower=x", "give either `model` or both"),
        ("student={image_tower: x}", "give either `model` or both"),
        ("train.micro_batch=100", "must divide batch_size (256)"),
    ],
)
def test_wrong_overrides(base: Path, override: str, wanted: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe(base / "base.yaml", [override])
    assert wanted in str(error.value) and "\n" not in str(error.value)


def test_a_circle_of_parents_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b\n")
    (tmp_path / "b.yaml").write_text("extends: a\n")
    with pytest.raises(UserError, match="circle"):
        load_recipe(tmp_path / "a.yaml")


def test_differences_name_dotted_keys() -> None:
    old = {"a": 1, "b": {"c": [1], "d": 2}, "gone": 0}
    assert differences(old, {"a": 1, "b": {"c": [2], "d": 2}, "new": 0}) == ["b.c", "gone", "new"]
    assert differences(old, old) == []


def test_what_tables_call_a_model() -> None:
    assert ModelSpec(model="RN50").label == "RN50"
    assert ModelSpec(image_tower="resnet18", text_tower="some/where/bert").label == "resnet18 + bert"
