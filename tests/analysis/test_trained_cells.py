"""What came of trained cells: from a file, or RUN folders that differ in teacher and seed alone; by which names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdistill.analysis.trained_cells import Outcome, matched, read_outcome, score_of
from clipdistill.errors import UserError
from clipdistill.evaluate.results import Result


def result(**metrics: float) -> Result:
    return Result("any", "data", 1, {name.replace("_at_", "/recall@"): value for name, value in metrics.items()})


def run(folder: Path, teacher: str | None, seed: int, top1: float | None, **recipe: Any) -> Path:
    folder.mkdir(parents=True)
    teachers = [] if teacher is None else [{"model": teacher, "store": f"stores/{seed}"}]
    values = {"name": folder.name, "seed": seed, "student": {"model": "petri-rn"}, "teachers": teachers, **recipe}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    if top1 is not None:
        measured = [result(top1=top1).to_dict(), result(top1=top1 + 0.2, text_to_image_at_1=0.9).to_dict()]
        models = {"student": {"name": "s", "results": measured}, "teacher": {"name": "t", "results": []}}
        (folder / "evaluation.json").write_text(json.dumps({"models": models}))
    return folder


def test_a_score_is_accuracy_where_there_is_some_else_recall() -> None:
    recalls = result(text_to_image_at_1=0.2, image_to_text_at_1=0.4, text_to_image_at_5=0.9)
    assert score_of([recalls]) == (pytest.approx(0.3), "recall@1")
    assert score_of([recalls, result(top1=0.5), result(top1=0.7)]) == (pytest.approx(0.6), "top1")
    assert score_of([recalls], "text_to_image/recall@5") == (0.9, "text_to_image/recall@5")
    with pytest.raises(UserError, match=r"--metric: top wasn't measured. Did you mean 'top1'"):
        score_of([result(top1=0.5)], "top")


def test_runs_of_a_teacher_are_its_seeds(tmp_path: Path) -> None:
    runs = [
        run(tmp_path / "a1", "big", 1, 0.5), run(tmp_path / "a0", "big", 0, 0.3), run(tmp_path / "b0", "small", 0, 0.4)
    ]  # fmt: skip
    found = read_outcome(runs)
    assert found.metric == "top1"
    assert found.scores == {"big": [pytest.approx(0.4), pytest.approx(0.6)], "small": [pytest.approx(0.5)]}
    assert read_outcome(runs, "text_to_image/recall@1").scores["big"] == [0.9, 0.9]


@pytest.mark.parametrize(("other", "said"), [
    ({"teacher": "big", "seed": 0, "top1": 0.1}, "give each cell once"),
    ({"teacher": "small", "seed": 0, "top1": 0.1, "student": {"model": "petri-student"}}, "`student` isn't that of"),
    ({"teacher": "small", "seed": 0, "top1": 0.1, "train": {"epochs": 9}}, "`train` isn't that of"),
    ({"teacher": "small", "seed": 0, "top1": None}, "wasn't measured"),
    ({"teacher": None, "seed": 0, "top1": 0.1}, "names 0 teachers"),
])  # fmt: skip
def test_runs_that_are_no_cells_are_refused(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    first = run(tmp_path / "first", "big", 0, 0.5)
    with pytest.raises(UserError, match=said):
        read_outcome([first, run(tmp_path / "other", **other)])


def test_a_file_says_scores_or_seeds(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({"big": 0.5, "small": [0.3, 0.4]}))
    assert read_outcome([file]) == Outcome({"big": [0.5], "small": [0.3, 0.4]}, "score")
    for content in ("[1]", "{", '{"a": "x"}', '{"a": []}', '{"a": true}', '{"a": NaN}'):
        file.write_text(content)
        with pytest.raises(UserError, match="scores.json"):
            read_outcome([file])


def test_cells_go_by_name_or_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "teacher").mkdir()
    monkeypatch.chdir(tmp_path)
    given = Outcome({str(tmp_path / "teacher"): [0.1], "big": [0.2]}, "top1")
    assert matched(given, ["big", "teacher", "untried"]).scores == {"teacher": [0.1], "big": [0.2]}
    with pytest.raises(UserError, match="add --teacher big"):
        matched(given, ["teacher"])
    with pytest.raises(UserError, match="takes 2"):
        matched(Outcome({"big": [0.2]}, "top1"), ["big", "small"])
