"""A table from the command line: two rows by two regimes, a row without training, resumed, shared, and failing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command

from clipdistill.data import open_source
from clipdistill.data.low_shot import read_low_shot
from clipdistill.petri import write_world
from clipdistill.runs import jobs

ROWS = {
    "vl_bert": {"label": "VL-BERT", "set": ["student=petri-vl-bert"], "paper": "vl_bert"},
    "uniter": {"label": "UNITER", "paper": "uniter_base", "against": "vl_bert"},
    "clip": {"label": "CLIP", "model": "petri-teacher-small", "paper": "clip_b32"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "world"
    write_world(folder, images=8, val=4, test=4, seed=3, formats=("snli_ve",))
    return folder


@pytest.fixture
def table(world: Path, tmp_path: Path) -> Path:
    """A table of micro runs on SNLI-VE; its recipe lies beside it."""
    data = {"format": "snli_ve", "path": str(world / "snli_ve")}
    recipe = {
        "name": "micro", "student": "petri-uniter", "task": {"method": "snli_ve"}, "compare": [],
        "data": {"train": [{**data, "split": "train"}], "workers": 0},
        "regions": {"provider": "whole", "store": str(tmp_path / "regions"), "model": "petri-teacher-small",
                    "max_regions": 1, "features": "map", "bins": 3},
        "train": {"epochs": 1, "batch_size": 6},
        "evaluate": [{"suite": "snli_ve", "data": {**data, "split": "test"}, "name": "test",
                      "regions": str(tmp_path / "regions_test")}],
    }  # fmt: skip
    (tmp_path / "micro.yaml").write_text(json.dumps(recipe))
    rows = {key: {**row, "recipe": str(tmp_path / "micro.yaml")} for key, row in ROWS.items()}
    content: dict[str, Any] = {
        "title": "Micro", "about": "of a test", "paper": "clip_td/table5", "seeds": 1, "rows": rows,
        "regimes": {
            "0": {"label": "0", "paper": "0", "trains": False},
            "low": {"label": "six", "set": ["data.train.0.low_shot=6"], "paper": "3000"},
            "full": {"label": "all"},
        },
        "measures": {
            "accuracy": {"label": "acc", "suite": "snli_ve", "data": "test", "metric": "accuracy", "paper": "snli_ve"}
        },
    }  # fmt: skip
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / "table.yaml"


def places(study: Path, title: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["row"], one["regime"]): one for one in json.loads((study / "tables.json").read_text())[title]}


def test_a_table_is_filled_resumed_and_shared(
    command: Command, table: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    said = command("study", table, "--out", out, "--plan")
    assert said.code == 0 and "5 runs, 0 of them done" in said.out and not out.exists(), said.err[-2000:]

    said = command("study", table, "--rows", "vl*", "--regimes", "low", "--out", out)
    assert said.code == 0 and "VL-BERT" in said.out and "/ 53.28" in said.out, said.err[-2000:]
    (first,) = out.glob("micro/*/seed-0")
    before = (first / "student" / "model.safetensors").stat().st_mtime_ns
    drawn = read_low_shot(first / "low_shot" / "snli_ve_train.json")
    assert drawn.total == len(drawn.ids) == 6 and set(drawn.classes.values()) == {2}
    spec = {"format": "snli_ve", "path": str(world / "snli_ve"), "split": "train"}
    file = str(first / "low_shot" / "snli_ve_train.json")
    assert open_source({**spec, "subset": file}).ids == list(drawn.ids)  # type: ignore[attr-defined]

    trained: list[Any] = []
    train = jobs.train
    monkeypatch.setattr(jobs, "train", lambda *given, **named: trained.append(given) or train(*given, **named))
    said = command("study", table, "--out", out)
    assert said.code == 0, said.err[-2000:]
    assert len(trained) == 3 and (first / "student" / "model.safetensors").stat().st_mtime_ns == before
    found = places(out, str(table))
    assert {key for key, one in found.items() if one["seeds"]} == {
        ("vl_bert", "low"), ("vl_bert", "full"), ("uniter", "low"), ("uniter", "full"), ("clip", "0")
    }  # fmt: skip
    evaluation = json.loads((first / "evaluation.json").read_text())["models"]["student"]["results"][0]
    assert found["vl_bert", "low"]["seeds"] == {"0": evaluation["metrics"]["accuracy"]}
    assert found["vl_bert", "low"]["printed"] == pytest.approx(0.5328) and evaluation["n"] == 12
    text, page = (out / "report.md").read_text("utf-8"), (out / "report.html").read_text("utf-8")
    for words in ("/ 53.28", "/ 46.83", "paired by seed", "seed-0/report."):
        assert words in text and words in page

    # Another table with the same cells in another order of words finds them done, and has its own numbers to read.
    other = yaml.safe_load(table.read_text())
    other |= {"title": "Other", "regimes": {"low": other["regimes"]["low"]}, "rows": {"u": other["rows"]["uniter"]}}
    other["rows"]["u"]["against"] = None
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    said = command("study", table, tmp_path / "other.yaml", "--out", out)
    assert said.code == 0 and len(trained) == 3, said.err[-2000:]
    assert places(out, str(tmp_path / "other.yaml"))["u", "low"]["seeds"] == found["uniter", "low"]["seeds"]


def test_a_run_that_fails_is_named_and_the_others_go_on(command: Command, table: Path, tmp_path: Path) -> None:
    said = command(
        "study", table, "--rows", "uniter", "--regimes", "*", "--set", "data.train.0.low_shot=7", "--out", "s"
    )
    assert said.code == 2 and said.err.count("study: failed") == 1  # both regimes draw seven now: one run
    content = yaml.safe_load(table.read_text())
    content["regimes"]["low"]["set"] = ["data.train.0.low_shot=300"]
    table.write_text(yaml.safe_dump(content))
    said = command("study", table, "--rows", "uniter", "--out", tmp_path / "study")
    assert said.code == 2 and "study: 1 of 2 runs failed; the first: uniter, low: micro, seed 0" in said.err
    assert "`data.train.0.low_shot`: 300 asked of 'snli_ve_train' are 100 of each class" in said.err
    found = places(tmp_path / "study", str(table))
    assert found["uniter", "full"]["seeds"] and not found["uniter", "low"]["seeds"]
    assert "failed / 57.13" in (tmp_path / "study" / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--rows", "unitar"], "--rows unitar: none of the tables has it; they have vl_bert, uniter, clip"),
        (["--regimes", "700"], "--regimes 700: none of the tables has it; they have 0, low, full"),
        (["--set", "train.epoch=1"], "unknown key `train.epoch`. Did you mean 'epochs'?"),
        (["--set", "task.method=vcr2"], "`rows.vl_bert`, regime low: "),
    ],
)
def test_wrong_names_before_the_first_run(
    command: Command, table: Path, tmp_path: Path, arguments: list[str], wanted: str
) -> None:
    assert wanted in command("study", table, *arguments, "--out", tmp_path / "study").complaint()
    assert not (tmp_path / "study").exists()


def test_what_is_neither_recipe_nor_table(command: Command, table: Path, tmp_path: Path) -> None:
    line = command("study", "petri/clip_td/tabel1", "--out", tmp_path / "study").complaint()
    assert "Did you mean 'petri/clip_td/table1'" in line
    line = command("study", "petri/rkd", table, "--out", tmp_path / "study").complaint()
    assert "petri/rkd is a recipe and" in line and "table.yaml isn't" in line
    assert "--rows" in command("study", "petri/rkd", "--rows", "x", "--out", tmp_path / "study").complaint()


def test_semi_supervised_takes_the_rest_of_the_same_draw(command: Command, table: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((table.parent / "micro.yaml").read_text())
    (labelled,) = recipe["data"]["train"]
    recipe["data"]["train"] = [{**labelled, "low_shot": 6}, {**labelled, "low_shot": 6, "unlabelled": True}]
    (tmp_path / "semi.yaml").write_text(json.dumps(recipe))
    said = command("train", tmp_path / "semi.yaml", "--out", tmp_path / "run")
    assert said.code == 0, said.err[-2000:]
    assert "snli_ve_train: 6, snli_ve_train_unlabelled: 18" in " ".join(said.err.split())
    (drawn,) = (tmp_path / "run" / "low_shot").iterdir()
    assert len(read_low_shot(drawn).ids) == 6


def test_the_command_draws_as_a_run_does(command: Command, world: Path, tmp_path: Path) -> None:
    file = tmp_path / "drawn.json"
    source = f"snli_ve:{world / 'snli_ve'}@train"
    said = command("low-shot", source, "--total", "6", "--seed", "4", "--out", file)
    assert said.code == 0 and "6 by seed 4, 2 of each of 3 classes" in said.out, said.err[-2000:]
    assert len(read_low_shot(file).ids) == 6
    assert "ask for a multiple of 3" in command("low-shot", source, "--total", "7", "--out", file).complaint()
    assert "is a folder" in command("low-shot", source, "--total", "6", "--out", tmp_path).complaint()
    twice = ["data.train.0.low_shot=6", "data.train.0.count=6"]
    line = command("train", "petri/vl/uniter_vcr", *twice, "--out", tmp_path / "run").complaint()
    assert "`low_shot`, `count` and `subset` each say what is drawn" in line
