"""Teachers' results that are kept: found again for the same weights, options and data, and measured anew for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from clipdistill.evaluate.suites import Evaluation, find_suite, open_suite
from clipdistill.models import create_model
from clipdistill.petri import write_world
from clipdistill.runs.evaluation import evaluate_models, run_suite
from clipdistill.runs.measured import Measured

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("petri") / "world"
    write_world(root, images=4, val=4, test=6, seed=0, formats=("karpathy", "imagefolder", "vqa"))
    return root


def suite(name: str, data: Any, **options: Any) -> Evaluation:
    found = find_suite(name)
    return open_suite(found, data, found.read_options(options))


@pytest.fixture(scope="module")
def teacher() -> Any:
    return create_model("petri-student", seed=1)


def asked(store: Path, model: Any, evaluation: Evaluation) -> bool:
    """Whether the model was measured, rather than its kept results read; either way they are what it gets now."""
    seen: list[int] = []

    def measure() -> list[Any]:
        seen.append(1)
        return run_suite(model, evaluation, CPU, 8, 0)

    kept = Measured(store, model, CPU)
    known = kept.holds(evaluation)
    found = kept.results(evaluation, measure)
    assert [each.to_dict() for each in found] == [
        json.loads(json.dumps(each.to_dict())) for each in run_suite(model, evaluation, CPU, 8, 0)
    ]
    assert known != bool(seen)
    return bool(seen)


def test_the_same_question_is_asked_once(world: Path, teacher: Any, tmp_path: Path) -> None:
    vqa = {"format": "vqa_v2", "path": str(world / "vqa"), "split": "test", "answers": str(world / "vqa/answers.txt")}
    for each in (suite("petri", str(world)), suite("vqa", vqa)):
        assert asked(tmp_path / "store", teacher, each)
        assert not asked(tmp_path / "store", teacher, each)
    assert len(list((tmp_path / "store.measured").glob("*.json"))) == 2 and not (tmp_path / "store").exists()


def test_other_weights_options_data_or_code_are_measured_anew(
    world: Path, teacher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, table = tmp_path / "store", tmp_path / "a.csv"
    (tmp_path / "images").symlink_to(world / "images")
    pictures = sorted((world / "images").iterdir())[:4]

    def write(captions: list[str], label: str = "one") -> Any:
        rows = [f"images/{file.name},{text},{label}" for file, text in zip(pictures, captions, strict=True)]
        table.write_text("\n".join(["image,caption,kind", *rows]) + "\n")
        return {"format": "csv", "path": str(table), "name": "a"}

    words = ["a red circle", "a blue square", "a star", "two rings"]
    data = write(words)
    assert asked(store, teacher, suite("retrieval", data))
    assert not asked(store, teacher, suite("retrieval", data))
    assert asked(store, create_model("petri-student", seed=2), suite("retrieval", data))
    assert asked(store, teacher, suite("retrieval", data, folds=2))
    assert asked(store, teacher, suite("retrieval", write(words[::-1])))
    assert not asked(store, teacher, suite("retrieval", write(words)))
    monkeypatch.setattr("clipdistill.runs.measured._code", lambda: "mended")
    assert asked(store, teacher, suite("retrieval", data))


def test_people_s_answers_and_the_vocabulary_are_part_of_the_question(
    world: Path, teacher: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "vqa"
    folder.mkdir()
    for file in (world / "vqa").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (tmp_path / "images").symlink_to(world / "images")
    spec = {"format": "vqa_v2", "path": str(folder), "split": "test", "answers": str(folder / "answers.txt")}
    assert asked(tmp_path / "store", teacher, suite("vqa", spec))
    words = (folder / "answers.txt").read_text().splitlines()
    (folder / "answers.txt").write_text("\n".join(words[:-1]) + "\n")
    assert asked(tmp_path / "store", teacher, suite("vqa", spec))
    (folder / "answers.txt").write_text("\n".join(words) + "\n")
    annotations = folder / "v2_petri_test_annotations.json"
    content = json.loads(annotations.read_text())
    content["annotations"][0]["answers"][0]["answer"] = words[-1]
    annotations.write_text(json.dumps(content))
    assert asked(tmp_path / "store", teacher, suite("vqa", spec))


def test_what_writes_files_or_reads_them_isn_t_kept(world: Path, teacher: Any, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a picture of {}\n")
    data = {"format": "imagefolder", "path": str(world / "zero_shot/unseen")}
    for each in (
        suite("zero_shot", data, templates=str(prompts)),
        suite("vqa", str(world), predictions=tmp_path / "p.npz"),
    ):
        assert asked(tmp_path / "store", teacher, each)
        assert asked(tmp_path / "store", teacher, each)
    assert not (tmp_path / "store.measured").exists()


def test_a_torn_file_is_measured_again(world: Path, teacher: Any, tmp_path: Path) -> None:
    retrieval = suite("retrieval", f"karpathy:{world / 'dataset_petri.json'}@test")
    assert asked(tmp_path / "store", teacher, retrieval)
    (file,) = (tmp_path / "store.measured").iterdir()
    for torn in ("", "{", "[]", '{"results": [1]}', '{"results": [{"evaluator": "retrieval"}]}'):
        file.write_text(torn)
        assert asked(tmp_path / "store", teacher, retrieval)
    assert not asked(tmp_path / "store", teacher, retrieval)


def test_only_the_roles_that_are_named_are_kept(
    world: Path, teacher: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluations = [suite("retrieval", f"karpathy:{world / 'dataset_petri.json'}@test")]
    models = {"teacher": ("t", teacher), "student": ("s", create_model("petri-student", seed=3))}
    kept = {"teacher": Measured(tmp_path / "store", teacher, CPU)}
    first = evaluate_models(evaluations, models, CPU, timed=False, kept=kept)
    assert "measured before" not in capsys.readouterr().out
    second = evaluate_models(evaluations, models, CPU, timed=False, kept=kept)
    assert first == second and capsys.readouterr().out.count("teacher, retrieval: measured before") == 1
