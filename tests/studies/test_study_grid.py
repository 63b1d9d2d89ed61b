"""Grids: every combination once, what is left out, folders by level, and wrong names in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdistill.errors import UserError
from clipdistill.evaluate import Result
from clipdistill.report.study_grids import GridResults, cell_table, level_table
from clipdistill.studies.figures import length_axis, student_axis, teacher_axis, without_teacher
from clipdistill.studies.grid import GridCell, StudyGrid, grid_cells, is_grid, load_grid

AXES: dict[str, Any] = {
    "teacher": {"key": "teachers.0.model", "values": ["small", "runs/big one"]},
    "loss": {"levels": {"fd": ["task.weights={fd: 1}"], "all": ["task.weights={fd: 1, icl: 1}", "train.lr=2"]}},
}


def made(**changes: Any) -> StudyGrid:
    return StudyGrid.model_validate({"recipe": "petri/clip_kd", "axes": AXES} | changes)


def names(cells: Any) -> list[str]:
    return [cell.name for cell in cells]


def test_every_combination_with_the_last_axis_fastest() -> None:
    cells = list(
        grid_cells(made(set=["train.lr=1", "teachers.0.store=s/{teacher}"]), ["seed=9", "train.epochs={loss}"])
    )
    assert names(cells) == [
        "teacher=small, loss=fd", "teacher=small, loss=all", "teacher=runs/big one, loss=fd",
        "teacher=runs/big one, loss=all",
    ]  # fmt: skip
    first, last = cells[0], cells[-1]
    assert set(first.overrides) == {
        "train.lr=1", "teachers.0.store=s/small", "seed=9", "train.epochs=fd", "teachers.0.model=small",
        "task.weights={fd: 1}",
    }  # fmt: skip
    assert "train.lr=2" in last.overrides and "train.lr=1" not in last.overrides  # a level's, over the grid's
    assert first.folder == "teacher=small+loss=fd"
    assert len({cell.folder for cell in cells}) == 4 and "/" not in last.folder and " " not in last.folder


def test_an_axis_may_name_anothers_level_and_set_nothing_itself() -> None:
    towers = {"blind": ["student=vlm:blind+petri-lm"], "best": ["student=vlm:runs/{tower_seed}/student+petri-lm"]}
    grid = made(axes={"tower": {"levels": towers}, "tower_seed": {"levels": {"0": [], "1": []}}})
    assert [cell.overrides for cell in grid_cells(grid)] == [
        ("student=vlm:blind+petri-lm",),
        ("student=vlm:blind+petri-lm",),
        ("student=vlm:runs/0/student+petri-lm",),
        ("student=vlm:runs/1/student+petri-lm",),
    ]


def test_folders_of_levels_that_read_alike_are_apart() -> None:
    one, other = (GridCell((("teacher", level),), ()) for level in ("runs/a b", "runs/a-b"))
    assert one.folder != other.folder


def test_values_are_yaml() -> None:
    grid = made(axes={"student": {"key": "student", "values": [{"model": "x"}, "y", None, 3]}})
    assert [cell.overrides[-1] for cell in grid_cells(grid)] == [
        'student={"model": "x"}', "student=y", "student=null", "student=3"
    ]  # fmt: skip


def test_parts_of_a_grid() -> None:
    grid = made(without=[{"teacher": "runs/*", "loss": "fd"}])
    assert names(grid_cells(grid)) == [
        "teacher=small, loss=fd",
        "teacher=small, loss=all",
        "teacher=runs/big one, loss=all",
    ]
    assert names(grid_cells(grid, only=["loss=fd"])) == ["teacher=small, loss=fd"]
    assert len(names(grid_cells(grid, only=["loss=fd", "loss=a*", "teacher=small"]))) == 2
    with pytest.raises(UserError, match="no cell is left"):
        list(grid_cells(grid, only=["loss=fd", "teacher=runs/*"]))


@pytest.mark.parametrize(
    ("only", "wanted"),
    [("loss", "say AXIS=LEVEL"), ("los=fd", "no axis 'los'; there are teacher, loss"),
     ("loss=kd", "axis loss has no level 'kd'; there are fd, all")],
)  # fmt: skip
def test_levels_that_are_not_there(only: str, wanted: str) -> None:
    with pytest.raises(UserError, match=wanted):
        list(grid_cells(made(), only=[only]))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"axes": {"a": {"key": "seed", "values": [1], "levels": {"x": ["seed=1"]}}}}, "give `key` and `values`, or"),
        ({"axes": {"a": {"key": "seed"}}}, "give `key` and `values`, or `levels`"),
        ({"axes": {"a": {"key": "seed", "values": [1, 1]}}}, "`seed`: 1 is there twice"),
        ({"axes": {}}, "axes"),
        ({"axis": AXES}, "unknown key `axis`. Did you mean 'axes'"),
        ({"without": [{"loss": "x"}]}, "`without.0`: axis loss has no level 'x'"),
        ({"figures": {"teacher": "teachr"}}, "`figures.teacher`: no axis 'teachr'; there are loss, teacher. Did you"),
        ({"figures": {"multimodal": ["vqa"]}}, "`figures.multimodal`: no measure 'vqa'; the file has no `measures`"),
        ({"figures": {"multimodel": []}}, "unknown key `figures.multimodel`. Did you mean"),
    ],
)
def test_wrong_files_in_one_line(changes: dict[str, Any], wanted: str, tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({"recipe": "r", "axes": AXES} | changes))
    with pytest.raises(UserError) as error:
        load_grid(file)
    assert wanted in str(error.value) and str(error.value).startswith(str(file)) and "\n" not in str(error.value)


def test_a_file_with_axes_is_one(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("recipe: r\naxes: {a: {key: seed, values: [1]}}\n")
    (tmp_path / "recipe.yaml").write_text("name: r\n")
    assert is_grid(str(tmp_path / "grid.yaml")) and not is_grid(str(tmp_path / "recipe.yaml")) and not is_grid("grid")
    with pytest.raises(UserError, match="no such grid, nor file; a grid is a YAML file with `recipe` and `axes`"):
        load_grid(tmp_path / "none.yaml")


def test_which_axis_is_what_is_told_by_its_keys() -> None:
    axes: dict[str, Any] = {
        "objective": {"levels": {"none": ["teachers=[]", "task.method=contrastive"], "fd": ["task.weights={fd: 1}"]}},
        "who": {"levels": {"none": ["teachers=[]"], "big": ["teachers.0.model=b", "teachers.0.store=s"]}},
        "small": {"key": "student.model", "values": ["x", "y"]},
        "length": {"key": "train.epochs", "values": [4, 8]},
    }
    grid = made(axes=axes)
    assert (teacher_axis(grid), student_axis(grid)) == ("who", "small")
    assert length_axis(grid) == {"4": 4.0, "8": 8.0} and without_teacher(grid.axes["who"]) == "none"
    assert teacher_axis(made(axes=axes, figures={"teacher": "objective"})) == "objective"
    assert (student_axis(made()), length_axis(made()), without_teacher(made().axes["teacher"])) == (None, None, None)


def results(value: float, **parts: float) -> dict[str, list[Result]]:
    metrics = {"top1": value, **{f"top1/{name}": part for name, part in parts.items()}}
    return {"student": [Result("zero_shot", "pets", 10, metrics, {})]}


def test_levels_are_compared_on_the_same_seeds() -> None:
    """By hand: of seed 0 small has (0.2 + 0.4) / 2 and big (0.6 + 0.8) / 2; seed 1 isn't done in every cell."""
    grid = made(axes={**AXES, "teacher": {"key": "teachers.0.model", "values": ["small", "big"]}})
    cells = list(grid_cells(grid))
    found = {
        cells[0]: {0: results(0.2, cats=1.0), 1: results(0.9)},
        cells[1]: {0: results(0.4)},
        cells[2]: {0: results(0.6), 1: results(0.1)},
        cells[3]: {0: results(0.8)},
    }
    filled = GridResults(grid, found, {cells[3]: "out of room"})
    table = cell_table(filled)
    assert table.header == ["teacher", "loss", "pets, top-1"]  # the part isn't a column of its own
    assert [row[-1] for row in table.rows] == ["55.0 ± 49.5", "40.0", "35.0 ± 35.4", "80.0 (failed)"]
    assert level_table(filled).rows == [
        ["teacher", "small", "30.0"], ["teacher", "big", "70.0"], ["loss", "fd", "40.0"], ["loss", "all", "60.0"]
    ]  # fmt: skip
    measures = {"m": {"label": "cats", "suite": "zero_shot", "data": "pets", "metric": "top1/cats"}}
    table = cell_table(GridResults(made(axes=grid.model_dump()["axes"], measures=measures), found, {}))
    assert table.header[2:] == ["cats"] and [row[-1] for row in table.rows] == ["100.0", "\N{EN DASH}"] + 2 * [
        "\N{EN DASH}"
    ]
