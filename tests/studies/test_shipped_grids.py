"""Grids that come with the package: every cell is a recipe, teachers have names that open_clip knows."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest

from clipdistill.models.loading import WEIGHTS_FOLDER
from clipdistill.recipe_files import load_recipe
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.evaluation import check_suites
from clipdistill.studies.figures import teacher_axis, without_teacher
from clipdistill.studies.grid import grid_cells, grid_names, is_grid, load_grid

NAMES = grid_names()
MADE_FIRST = ["petri/teacher_weak", *(f"real/teacher_{one}" for one in ("weak", "lite0", "lite1", "lite2"))]
"""Recipes whose runs are teachers."""


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_a_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = tmp_path / "real-data/caltech101/seen.txt"
    seen.parent.mkdir(parents=True)
    seen.write_text("lotus\n")
    assert is_grid(name)
    grid = load_grid(name)
    axis = teacher_axis(grid)
    assert grid.about and grid.paper == "kd_for_vlms"
    none = None if axis is None else without_teacher(grid.axes[axis])
    pretrained = {f"{model}:{tag}" for model, tag in open_clip.list_pretrained()}
    shipped = {path.name for path in WEIGHTS_FOLDER.iterdir()} | {f"runs/{one}" for one in MADE_FIRST}
    suites = {(one.suite, one.data) for one in grid.measures.values()}
    for cell in grid_cells(grid):
        recipe = load_recipe(grid.recipe, cell.overrides)
        check_recipe(recipe)
        check_suites(recipe)
        level = None if axis is None else dict(cell.levels)[axis]
        said = () if axis is None or level == none else grid.axes[axis].named()[str(level)]
        taught = any(one.startswith("teachers") for one in said)
        assert [spec.label in pretrained | shipped for spec in recipe.teachers] == [True] * taught, cell.name
        named = {(spec.suite, spec.options().get("name")) for spec in recipe.evaluate}
        assert {one for one in suites if one[0] in ("likeness", "vqa", "zero_shot")} <= named | {
            ("zero_shot", "petri/seen"), ("zero_shot", "petri/unseen among all 100"),
            ("zero_shot", "caltech101"), ("zero_shot", "caltech101/seen"), ("zero_shot", "caltech101/unseen"),
        }  # fmt: skip


def test_teachers_that_are_made_first_have_a_recipe_which_their_grid_names() -> None:
    about = " ".join(load_grid(name).about for name in NAMES)
    for name in MADE_FIRST:
        assert load_recipe(name).name == name
        assert name.replace("lite1", "lite0").replace("lite2", "lite0") in about


def test_the_petri_study_is_as_large_as_the_question_needs() -> None:
    """Four teachers and none, two students, three sets of terms (one where there is no teacher), three seeds."""
    grid = load_grid("petri/kd_for_vlms/teachers")
    cells = list(grid_cells(grid))
    assert (len(cells), grid.seeds) == (4 * 2 * 3 + 2, 3)
    stores = {spec.store for cell in cells for spec in load_recipe(grid.recipe, cell.overrides).teachers}
    assert len(stores) == 4


def test_quick_gelu_is_asked_for_where_weights_were_trained_with_it() -> None:
    """open_clip's ViT-B-16 with DFN's or MetaCLIP's weights runs with GELU, and says so in a warning alone."""
    for name in NAMES:
        grid = load_grid(name)
        for cell in grid_cells(grid):
            for spec in load_recipe(grid.recipe, cell.overrides).teachers:
                model, _, tag = spec.label.partition(":")
                if tag.startswith(("dfn", "metaclip")):
                    assert "quickgelu" in model, spec.label
