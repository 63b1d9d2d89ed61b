"""The suite `likeness`: the numbers of `clipdistill cka`, for whoever is measured beside a teacher."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import encoder, picture

from clipdistill.analysis.likeness import model_cka
from clipdistill.errors import UserError
from clipdistill.evaluate.suites import Evaluation, evaluate_suite, find_suite, open_suite
from clipdistill.export import save_student
from clipdistill.runs.evaluation import evaluate_models

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Fourteen pictures, two captions each, of which number 3 can't be read."""
    (tmp_path / "pictures").mkdir()
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        for k in range(14):
            picture(60, 40 + k, seed=k).save(tmp_path / "pictures" / f"{k}.png")
            rows.writerows([f"pictures/{k}.png", f"a {word} circle, {k}"] for word in ("red", "green"))
    (tmp_path / "pictures" / "3.png").write_bytes(b"no picture")
    return tmp_path / "data.csv"


def opened(data: Path, **options: Any) -> Evaluation:
    suite = find_suite("likeness")
    return open_suite(suite, str(data), suite.read_options(options))


def test_a_run_has_the_numbers_of_cka(data: Path, tmp_path: Path) -> None:
    """Student and control beside the teacher; the teacher alone has no CKA with itself, but its own spread."""
    teacher, student, control = encoder("timm", seed=1), encoder("clip"), encoder("clip", seed=2)
    models = {"teacher": ("t", teacher), "control": ("c", control), "student": ("s", student)}
    found = evaluate_models([opened(data, count=12, name="shown")], models, CPU)["models"]
    results = {role: found[role]["results"][0] for role in models}

    for role, model in (("teacher", teacher), ("student", student)):
        save_student(model, tmp_path / role)
    said = model_cka(tmp_path / "teacher", tmp_path / "student", data, count=12, workers=0)
    own = results["student"]
    assert (own["evaluator"], own["data"], own["n"]) == ("likeness", "shown", said["images"])
    near: Any = lambda value: pytest.approx(value, abs=1e-6)  # noqa: E731
    value, layers, others = said["cka"]["value"], len(said["student"]["layers"]), len(said["teacher"]["layers"])
    assert (layers, others) == (2, 5)
    assert own["metrics"] == {
        "cka": near(value[-1][-1]), "cka_unit": near(said["unit"]["value"][-1][-1]),
        "cka_before_last": near(value[0][4]),  # of two blocks the first, of a CNN's stages the last
        "cka_layers": near((value[0][2] + value[1][4]) / 2),  # as deep: the third of five beside the first of two
        **{name: near(said["spread"]["student"][name]) for name in
           ("alignment", "image_uniformity", "text_uniformity")},
    }  # fmt: skip
    assert own["artifacts"]["interval"] == near([said["cka"][side][-1][-1] for side in ("low", "high")])
    assert [one["value"] for one in own["artifacts"]["layers"]] == [near(value[0][2]), near(value[1][4])]
    assert results["teacher"]["metrics"] == {
        name: pytest.approx(said["spread"]["teacher"][name], abs=1e-5)
        for name in ("alignment", "image_uniformity", "text_uniformity")
    }
    assert results["control"]["metrics"]["cka"] != own["metrics"]["cka"]


def test_a_tower_without_layers_is_compared_by_its_embeddings(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = encoder("resnet"), encoder("clip")

    def none() -> None:
        raise UserError("it gives none")

    monkeypatch.setattr(teacher, "map_levels", none)
    found = evaluate_models([opened(data)], {"teacher": ("t", teacher), "student": ("s", student)}, CPU)["models"]
    (result,) = found["student"]["results"]
    assert "cka" in result["metrics"] and "cka_layers" not in result["metrics"]
    assert result["artifacts"]["no_layers"] == "it gives none"


def test_each_teacher_has_a_result_and_without_one_there_is_none(data: Path, capsys: Any) -> None:
    models = {"teacher 1": ("a", encoder("resnet")), "teacher 2": ("b", encoder("clip", 3))}
    student = encoder("clip")
    evaluation = opened(data, pool="none")
    both = evaluate_models([evaluation], models | {"student": ("s", student)}, CPU)["models"]["student"]["results"]
    assert [one["data"] for one in both] == ["data, teacher 1", "data, teacher 2"]
    assert "cka_layers" not in both[0]["metrics"] and both[0]["metrics"]["cka"] != both[1]["metrics"]["cka"]

    epoch = {"epoch 1": ("s", student)}  # measured apart from its teachers
    again = evaluate_models([evaluation], epoch, CPU, teachers={"teacher": models["teacher 1"][1]})["models"]
    assert again["epoch 1"]["results"][0]["metrics"] == both[0]["metrics"]
    assert evaluate_models([evaluation], epoch, CPU)["models"]["epoch 1"]["results"] == []
    assert "epoch 1: left out of likeness: likeness compares a model with its teacher" in capsys.readouterr().out
    with pytest.raises(UserError, match="no dual_encoder is measured beside as teacher"):
        evaluate_suite(student, "likeness", str(data))
    with pytest.raises(UserError, match="count: 15 pictures, but data has 14 different ones"):
        opened(data, count=15)
