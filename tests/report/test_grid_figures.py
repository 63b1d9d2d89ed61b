"""Figures of a grid: the numbers behind them, what they are compared with, and that a phone can show them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from clipdistill.report.grids.differences import difference_figures, reference
from clipdistill.report.grids.drawing import html_of
from clipdistill.report.grids.lengths import length_figure
from clipdistill.report.grids.neighbours import neighbour_table
from clipdistill.report.grids.pareto import Model, front, pareto_figures
from clipdistill.report.grids.results import GridResults, balanced
from clipdistill.report.grids.teachers import answer_table, answers, numbering, teacher_figure
from clipdistill.report.study_grids import grid_tables, write_grid_report
from clipdistill.report.words import MINUS
from clipdistill.studies.grid import StudyGrid, grid_cells
from tests.report.made_grids import MEASURES, TEACHERS, grid_of, made_up, results_of


def filled(grid: StudyGrid, values: dict[str, dict[str, float]], **roles: dict[str, float]) -> GridResults:
    """One seed; values: cell's name -> measures of its student; roles: measures of the others, the same everywhere."""
    found = {
        cell: {0: {"student": results_of(values[cell.name]), **{r: results_of(m) for r, m in roles.items()}}}
        for cell in grid_cells(grid) if cell.name in values
    }  # fmt: skip
    return GridResults(grid, found, {})


def two_by_two(**changes: Any) -> StudyGrid:
    axes = {
        "teacher": {"levels": {"none": ["teachers=[]"], "a": ["teachers.0.model=a"], "b": ["teachers.0.model=b"]}},
        "student": {"key": "student", "values": ["s", "t"]},
        "loss": {"levels": {"fd": ["task.weights={fd: 1}"], "icl": ["task.weights={icl: 1}"]}},
    }
    without = [{"teacher": "none", "loss": "icl"}]
    return StudyGrid.model_validate({"recipe": "r", "axes": axes, "without": without, "measures": MEASURES} | changes)


SCORES = {
    "teacher=none, student=s, loss=fd": 0.10, "teacher=none, student=t, loss=fd": 0.20,
    "teacher=a, student=s, loss=fd": 0.11, "teacher=a, student=s, loss=icl": 0.13,
    "teacher=a, student=t, loss=fd": 0.25, "teacher=a, student=t, loss=icl": 0.27,
    "teacher=b, student=s, loss=fd": 0.09, "teacher=b, student=s, loss=icl": 0.10,
    "teacher=b, student=t, loss=fd": 0.30,
}  # fmt: skip


def test_differences_from_no_teacher_on_the_cells_that_all_teachers_have() -> None:
    """By hand: a (1 + 3 + 5) / 3 points and b (-1 + 0 + 10) / 3; a's fourth cell, which b lacks, doesn't count."""
    results = filled(two_by_two(), {name: {"top1": value} for name, value in SCORES.items()})
    against = reference(results)
    assert (against.name, against.level) == ("no teacher", "none")
    (figure,) = difference_figures(results)  # no teacher was measured, so nothing is behind it
    assert {row[1]: row[3] for row in figure.rows} == {"a": pytest.approx(0.03), "b": pytest.approx(0.03)}
    assert [row[:3] for row in figure.rows] == [["top1", "a", 0], ["top1", "b", 0]] and len(figure.panels) == 1


def test_a_control_comes_before_no_teacher_and_the_first_teacher_after_both() -> None:
    scores = {name: {"top1": value} for name, value in SCORES.items()}
    controlled = filled(two_by_two(), scores, control={"top1": 0.05})
    assert reference(controlled).name == "the control"
    (figure,) = difference_figures(controlled)
    assert figure.rows[0][3] == pytest.approx((0.11 + 0.13 + 0.25) / 3 - 0.05)
    said = {f"teacher={name}, student=tiny, loss=fd": {"top1": value} for name, value in (("x", 0.4), ("y", 0.5))}
    plain = filled(grid_of(["x", "y"]), said)
    assert reference(plain).level == "x"
    (figure,) = difference_figures(plain)
    assert figure.rows == [["top1", "y", 0, pytest.approx(0.1)]]


def test_students_behind_their_teacher() -> None:
    results = filled(two_by_two(), {name: {"top1": value} for name, value in SCORES.items()}, teacher={"top1": 0.5})
    _, figure = difference_figures(results)
    assert {row[1]: row[3] for row in figure.rows}["b"] == pytest.approx((0.09 + 0.10 + 0.30) / 3 - 0.5)


def test_only_blocks_that_all_have_are_averaged() -> None:
    known = {"a": {(0, ()): 1.0, (1, ()): 3.0}, "b": {(0, ()): 5.0}}
    assert balanced(known) == {"a": {0: 1.0}, "b": {0: 5.0}} and balanced({}) == {}


def test_length_over_an_axis_and_over_kept_epochs() -> None:
    axes = {**grid_of().model_dump()["axes"], "epochs": {"key": "train.epochs", "values": [4, 16]}}
    grid = grid_of(axes=axes, figures={"imagenet_like": ["top1"], "multimodal": ["vqa"]})
    figure = length_figure(made_up(grid))
    assert figure is not None
    assert [panel.title for panel in figure.panels] == ["ImageNet-like", "Multimodal", "CKA with the teacher"]
    rows = {(row[0], row[1], row[2]): row[3:] for row in figure.rows}
    assert len(rows) == 3 * 4 * 2 and all(row[2] == 3 for row in rows.values())
    gain = rows["imagenet_like", "best", 16.0][0] - rows["imagenet_like", "best", 4.0][0]
    assert gain == pytest.approx(0.12, abs=0.01)  # a point an epoch, by construction

    kept = length_figure(made_up(grid_of(), epochs=(1, 2, 4)))
    assert kept is not None and "after that epoch" in kept.notes[0]
    rows = {(row[0], row[1], row[2]): row[3] for row in kept.rows}
    assert rows["cka", "weak", 1.0] == pytest.approx(0.6 * rows["cka", "weak", 4.0] / 0.9)
    assert length_figure(made_up(grid_of())) is None


def test_the_question_is_answered_within_students_and_objectives() -> None:
    results = made_up(grid_of())
    found = {one.key: one for one in answers(results)}
    assert list(found) == ["top1", "vqa"]  # CKA is no quality of a teacher
    assert list(found["top1"].teachers) == ["best", "good", "fair", "weak"]
    ranked = [one.found for one in found.values()]
    assert [(round(r.spearman or 0, 9), r.teachers, r.blocks) for r in ranked if r] == [(1, 4, 4), (-1, 4, 4)]
    assert "yes, better teachers made better students" in found["top1"].said
    assert "no, better teachers made worse students" in found["vqa"].said and "\N{MINUS SIGN}1.00" in found["vqa"].said
    assert answer_table(list(found.values())).rows[0][:3] == ["unseen, top-1", "4", "4"]
    figure = teacher_figure(results, list(found.values()))
    assert figure is not None and "Teachers: 1 best; 2 good; 3 fair; 4 weak." in figure.notes[0]
    first = figure.rows[0]
    assert len(figure.rows) == 2 * 16 and (first[0], first[1], first[3], first[6]) == ("top1", "weak", "tiny, fd", 3)


def test_students_are_set_beside_another_measure_of_their_teachers() -> None:
    """The file says by which measure teachers are ordered, such as where they can't answer questions."""
    grid = grid_of(figures={"teacher_quality": "top1"})
    wanted = {"best": 0.8, "good": 0.6, "fair": 0.4, "weak": 0.2}
    assert answers(made_up(grid))[1].teachers == pytest.approx(wanted)


def test_teachers_two_by_two_by_hand() -> None:
    """Two students of `b` are 3 and 5 points ahead of those of `a`, with the second seed 1 and -1."""
    own = {"a": 0.4, "b": 0.6}
    axes = {
        "teacher": {"key": "teachers.0.model", "values": ["a", "b"]},
        "student": {"key": "student", "values": ["s", "t"]},
    }
    grid = StudyGrid.model_validate({"recipe": "r", "axes": axes, "measures": {"top1": MEASURES["top1"]}})
    ahead = {("s", 0): 0.03, ("t", 0): 0.05, ("s", 1): 0.01, ("t", 1): -0.01}
    found = {
        cell: {
            seed: {
                "teacher": results_of({"top1": own[levels["teacher"]]}),
                "student": results_of({"top1": 0.2 + (levels["teacher"] == "b") * ahead[levels["student"], seed]}),
            }
            for seed in (0, 1)
        }
        for cell in grid_cells(grid) for levels in [dict(cell.levels)]
    }  # fmt: skip
    results = GridResults(grid, found, {})
    table = neighbour_table(results, answers(results))
    assert table is not None and table.header == ["teachers", "unseen, top-1"]
    assert table.rows == [[f"b {MINUS} a", "+2.0 ± 2.8 (3 of 4)"]]
    assert [title for title, _, _ in grid_tables(results)][-1] == "Teachers two by two"
    assert neighbour_table(results, []) is None


def test_vlms_are_set_beside_their_towers_own_score() -> None:
    """Towers aren't taught but stood on, and measured as CLIPs, by what no VLM is asked."""
    towers = {"blind": ["student=x"]} | {name: [f"student=vlm:{name}+lm"] for name in TEACHERS}
    grid = StudyGrid.model_validate({
        "recipe": "r", "axes": {"tower": {"levels": towers}, "steps": {"key": "train.max_steps", "values": [300, 800]}},
        "measures": {"own": MEASURES["top1"], "vqa": MEASURES["vqa"]},
        "figures": {"teacher": "tower", "teacher_quality": "own"},
    })  # fmt: skip
    found: dict[Any, Any] = {}
    for cell in grid_cells(grid):
        tower, steps = dict(cell.levels)["tower"], float(dict(cell.levels)["steps"])
        own = TEACHERS.get(tower)
        vlm = 0.2 + 0.3 * (own or 0) + 1e-4 * steps
        found[cell] = {
            seed: {"student": results_of({"vqa": vlm + 0.01 * seed})}
            | ({} if own is None else {"base": results_of({"top1": own})})
            for seed in (0, 1)
        }
    results = GridResults(grid, found, {})
    (answer,) = answers(results)
    assert (answer.key, len(answer.teachers), len(answer.blocks)) == ("vqa", 4, 2)
    assert answer.found is not None and answer.found.spearman == 1
    assert "better bases made better students" in answer.said and "4 bases' own scores" in answer.said
    assert answer_table([answer]).header[1] == "bases"
    titles = [title for title, _, _ in grid_tables(results)]
    assert titles[-2:] == ["Do better bases make better students?", "Bases two by two"]
    figure = teacher_figure(results, [answer])
    assert figure is not None and figure.title == "Students beside their bases" and len(figure.rows) == 8
    assert {row[1]: row[2] for row in figure.rows} == TEACHERS and "Bases: 1 best" in figure.notes[0]
    assert list(results.measures()) == ["vqa"]  # nobody asked a VLM for the other


def test_too_few_teachers_are_said_and_not_computed() -> None:
    (one, _) = answers(made_up(grid_of(["weak", "fair", "best"])))
    assert (
        one.found is None and one.said == "unseen, top-1: 3 teachers were measured by it; a rank correlation takes 4."
    )
    assert "3 teachers were measured" in grid_tables(made_up(grid_of(["weak", "fair", "best"])))[-2][2][0]
    assert answers(made_up(grid_of(axes={"student": {"key": "student", "values": ["tiny", "small"]}}))) == []


def test_the_front_is_of_what_nothing_beats() -> None:
    models = [Model("s", name, cost, quality) for name, cost, quality in
              (("a", 1, 0.2), ("b", 1, 0.3), ("c", 2, 0.3), ("d", 3, 0.25), ("e", 4, 0.5))]  # fmt: skip
    assert [one.name for one in front(models)] == ["b", "e"]


def test_quality_against_parameters_and_flops() -> None:
    results = made_up(grid_of())
    figures = pareto_figures(results, numbering(results, answers(results)))
    assert [figure.name for figure in figures] == ["pareto_parameters", "pareto_flops_per_pair"]
    rows = [row for row in figures[0].rows if row[0] == "top1"]
    assert [sum(row[1] == series for row in rows) for series in ("tiny", "small", "controls", "teachers")] == [
        8,
        8,
        16,
        4,
    ]
    assert {row[2]: row[3] for row in rows}["best"] == pytest.approx(5e6)
    assert pareto_figures(GridResults(results.grid, results.found, {}), {}) == []  # no costs


def test_the_whole_report(tmp_path: Path) -> None:
    results = made_up(grid_of(paper="kd_for_vlms"), seeds=2, epochs=(1, 2))
    write_grid_report(results, tmp_path, {})
    text, page = (tmp_path / "report.md").read_text("utf-8"), (tmp_path / "report.html").read_text("utf-8")
    for name in ("difference", "behind_teacher", "length", "teachers", "pareto_parameters", "pareto_flops_per_pair"):
        assert f"report_files/{name}.png" in text and f"report_files/{name}.csv" in page
        assert (tmp_path / "report_files" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        rows = list(csv.reader((tmp_path / "report_files" / f"{name}.csv").open(encoding="utf-8")))
        assert len(rows) > 1 and len({len(row) for row in rows}) == 1
    for words in ("Do better teachers make better students?", "Beside the paper", "85.8 million parameters"):
        assert words in text and words in page
    content = json.loads((tmp_path / "grid.json").read_text())
    assert content["answers"][0]["ranks"]["spearman"] == pytest.approx(1) and content["answers"][0]["measure"] == "top1"
    assert content["cells"][0]["costs"]["0"]["student"]["parameters"] == 2e5
    assert content["cells"][0]["epochs"]["1"]["2"][0]["metrics"]


def test_a_phone_can_show_a_panel() -> None:
    """Each panel is an SVG of its own, no wider than 330 pixels, whose letters are 8 points or more."""
    results = made_up(grid_of(), epochs=(1, 2))
    for figure in [*difference_figures(results), length_figure(results)]:
        assert figure is not None
        page = html_of(figure)
        widths = [float(width) for width in re.findall(r'style="max-width:([\d.]+)pt"', page)]
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", page)]
        assert len(widths) == len(figure.panels) and max(widths) * 4 / 3 < 330 and min(sizes) >= 8
