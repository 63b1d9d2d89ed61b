"""The checks and small sums that stand before a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipdistill.data import Mixture, open_source
from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.files import require_space
from clipdistill.kinds import require_weights
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import load_recipe, validate
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.data import augment_plan, check_left_out, world_for_plan, worlds_for_plans
from clipdistill.runs.derived import control_recipe
from clipdistill.runs.open_teachers import open_teachers
from clipdistill.runs.parts import open_parts
from clipdistill.runs.plan import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (95, "1 min 35 s"), (3600, "1 h 0 min"), (200_000, "2.3 days")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_full_disk_names_the_option(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1, "the run", "--out")
    with pytest.raises(UserError, match="--out .*needs"):
        require_space(tmp_path / "not" / "yet", 1e18, "the run", "--out")


def test_batches_must_divide_among_processes() -> None:
    recipe = load_recipe("petri/quickstart", ["train.batch_size=128", "train.micro_batch=32"])
    check_recipe(recipe, 4)
    for processes in (3, 48):
        with pytest.raises(UserError, match="train.batch_size"):
            check_recipe(recipe, processes)
    with pytest.raises(UserError, match="train.micro_batch"):
        check_recipe(load_recipe("petri/quickstart", ["train.batch_size=120", "train.micro_batch=24"]), 3)


def test_a_student_that_is_a_recipes_run_is_trained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = (
        "`student`: runs/petri/sds_base isn't there; train it first: clipdistill train petri/sds_base --out runs/petri"
    )
    with pytest.raises(UserError, match=f"^{re.escape(said)}/sds_base$"):
        open_parts(load_recipe("petri/sds_clip"), Ranks.current())


def test_a_teacher_that_is_a_recipes_run_is_trained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("clip_kd/rn18_from_rn101_cc")
    said = (
        "`teachers.0`: runs/clip_kd/teacher_rn101 isn't there; train it first: clipdistill train clip_kd/teacher_rn101"
    )
    with pytest.raises(UserError, match=f"^{re.escape(said)} --out runs/clip_kd/teacher_rn101$"):
        open_teachers(recipe, None)
    with pytest.raises(UserError, match="give a checkpoint or RUN folder, or a model name$"):
        open_teachers(load_recipe("clip_kd/rn18_from_rn101_cc", ["teachers.0.model=runs/mine"]), None)


def test_a_teacher_that_would_be_ignored_is_refused() -> None:
    towers = {"image_tower": "resnet18", "text_tower": "some/bert", "locked": ["image"]}

    def lit(teacher: dict[str, Any]) -> Recipe:
        data = {"train": [{"format": "csv", "path": "x.csv"}]}
        return validate(
            {"name": "x", "student": towers, "data": data, "task": {"method": "lit"}, "teachers": [teacher]}, "x"
        )

    same = {key: towers[key] for key in ("image_tower", "text_tower")}
    check_recipe(lit({**same, "store": "towers"}))  # its own towers, stored
    for other in ({**same, "image_tower": "resnet50"}, {"model": "ViT-B-16:openai"}):
        with pytest.raises(UserError, match="`teachers.0`: lit learns from the model that it starts from"):
            check_recipe(lit({**other, "store": "towers"}))


def test_the_control_differs_in_the_teacher_alone() -> None:
    recipe = load_recipe("petri/quickstart", ["data.augment.views=null", "train.lr=0.01"])
    control = control_recipe(recipe)
    assert control.teachers == [] and control.task.method == "contrastive" and control.compare == []
    assert (control.student, control.train, control.seed) == (recipe.student, recipe.train, recipe.seed)
    # With a store the student sees one view a picture unless told otherwise, and so does its control.
    assert augment_plan(control) == augment_plan(recipe)
    assert augment_plan(recipe).views == 1
    assert augment_plan(load_recipe("petri/quickstart", ["data.augment.seed=9", "seed=3"])).seed == 9


def test_names_without_weights() -> None:
    for name in ("RN50", "ViT-B/32"):
        with pytest.raises(UserError, match=f"{name}:openai"):
            require_weights(name)
    with pytest.raises(UserError, match="random weights"):
        require_weights("petri-student")
    require_weights("RN50:openai")
    require_weights("some/folder")


def table(folder: Path, good: int, bad: int) -> Mixture:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "a.png")
    lines = ["image,caption,id", *(f"a.png,words {i},{i}" for i in range(good)), *(f",lost,{i}" for i in range(bad))]
    (folder / "t.csv").write_text("\n".join(lines))
    return Mixture([(open_source({"format": "csv", "path": str(folder / "t.csv")}), None)])


def test_samples_that_were_left_out_have_a_limit(tmp_path: Path) -> None:
    mixture = table(tmp_path, 1, 1)
    check_left_out(mixture, 0.5)
    with pytest.raises(UserError, match=r"'t': 1 of 2 samples.*line 3: no value in column 'image'"):
        check_left_out(mixture, 0.49)


def test_files_that_are_no_pictures_are_no_lost_samples(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "cats" / "a.png")
    for name in ("notes.txt", "licence.md"):
        (tmp_path / "cats" / name).touch()
    check_left_out(Mixture([(open_source({"format": "imagefolder", "path": str(tmp_path)}), None)]), 0.0)


def test_a_plan_borrows_a_world(tmp_path: Path) -> None:
    there = tmp_path / "w"
    settings = [
        f"petri.path={there}", "petri.images=2", "petri.val=1", "petri.test=1", "petri.image_size=16",
        f"data.train.0.path={there / 'dataset_petri.json'}", f"evaluate=[{{suite: petri, data: '{there}'}}]",
        f"teachers.0.store={there / 'store'}",
    ]  # fmt: skip
    recipe = load_recipe("petri/quickstart", settings)
    with world_for_plan(recipe) as borrowed:
        assert isinstance(borrowed, Recipe) and borrowed.petri is not None
        world = borrowed.petri.path
        assert (world / "dataset_petri.json").is_file() and tmp_path not in world.parents
        assert borrowed.data.train[0].path == str(world / "dataset_petri.json")
        assert borrowed.evaluate[0].data == str(world) and borrowed.teachers == recipe.teachers
    assert not world.exists() and list(tmp_path.iterdir()) == []
    with worlds_for_plans() as borrow:  # of several recipes: the same world is written once
        first, second, third = (borrow(load_recipe("petri/quickstart", [*settings, *more]))
                                for more in ([], ["train.epochs=1"], ["petri.seed=9"]))  # fmt: skip
        paths = [each.petri.path for each in (first, second, third) if each.petri is not None]
        assert paths[0] == paths[1] != paths[2] and all((path / "world.json").is_file() for path in paths)
