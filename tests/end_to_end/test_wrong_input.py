"""Each mistake: exit code 2, one line that names field and fix, and not a file left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command

TRAIN = [
    # (what is typed behind `train RECIPE`, what the line must say)
    (["trian.lr=1"], ["unknown key `trian`", "'train'"]),
    (["train.learning_rate=1"], ["unknown key `train.learning_rate`", "Valid keys", "lr"]),
    (["train.batchsize=8"], ["`train.batchsize`", "'batch_size'"]),
    (["data.augment.flp=0.5"], ["`data.augment.flp`", "'flip'"]),
    (["teachers.0.stor=x"], ["`teachers.0.stor`", "'store'"]),
    (["train.batch_size=many"], ["`train.batch_size`", "integer", "'many'"]),
    (["train.batch_size=0"], ["`train.batch_size`", "greater than or equal to 1"]),
    (["train.lr=-1"], ["`train.lr`", "greater than 0"]),
    (["train=fast"], ["`train`", "'fast'"]),
    (["train.precision=fp8"], ["`train.precision`", "'fp32' or 'bf16'"]),
    (["train.lr"], ["'train.lr'", "key=value"]),
    (["=3"], ["key=value"]),
    (["train.lr=[1"], ["'train.lr=[1'", "YAML"]),
    (["data.train.3.path=x"], ["data.train.3.path", "list of 1"]),
    (["data.train.first.path=x"], ["'first' is not a position"]),
    (["seed.value=3"], ["`seed`", "integer"]),
    (["name.value=3"], ["`name` is 'micro'", "no keys"]),
    (["data.train.0.path=gone.json"], ["`data.train.0`", "gone.json", "no such file"]),
    (["data.train=[]"], ["`data.train`"]),
    (["data.train.0.format=karpaty"], ["'karpaty'", "'karpathy'"]),
    (["data.train.0.splitt=x"], ["'splitt'", "'split'"]),
    (["data.train.0.split=nothing"], ["'nothing'", "train"]),
    (["data.train.0.count=4000"], ["`data.train.0.count`", "4,000", "48"]),
    (["train.batch_size=64"], ["`train.batch_size` is 64", "48"]),
    (["train.micro_batch=5"], ["`train.micro_batch`", "divide", "16"]),
    (["student=petri-tiny-studnt"], ["petri-tiny-studnt", "'petri-tiny-student'"]),
    (["student=nowhere/at-all"], ["nowhere/at-all", "no such folder"]),
    (["student=ViT-B-32:openia"], ["ViT-B-32:openia", "'openai'"]),
    (["student=ViT-B-32:openai"], ["ViT-B-32:openai", "HF_HUB_OFFLINE", "hf download timm/vit_base_patch32_clip_224"]),
    (["student=hf-hub:some/where"], ["hf-hub:some/where", "HF_HUB_OFFLINE", "hf download some/where"]),
    (["teachers=[{model: ViT-B-32:openai}]"], ["`teachers.0`", "ViT-B-32:openai", "hf download"]),
    (["teachers=[{model: ViT-B-32}]"], ["`teachers.0`", "random weights", "ViT-B-32:openai"]),
    (["teachers=[]"], ["`teachers`", "needs a teacher"]),
    (["teachers=[{store: x}]"], ["`teachers.0`", "`model`"]),
    (["task.method=clipkd"], ["`task.method`", "'clip_kd'"]),
    (["task.weights={crdd: 1}"], ["`task.weights.crdd`", "'crd'"]),
    (["task.weights={crd: 0}"], ["`task.weights`", "nothing to train"]),
    (["task.weights={crd: much}"], ["`task.weights.crd`", "'much'"]),
    (["task.mask_ration=0.5"], ["mask_ration", "'mask_ratio'"]),
    (["task.mask_ratio=lots"], ["mask_ratio", "'lots'"]),
    (["task.method=lit", "teachers=[]"], ["lit", "image_tower"]),
    (["paper=clip_kd/vit_t16"], ["paper", "'vit_t16'", "'vit_t16_from_"]),
    (["compare=[techer]"], ["`compare.0`", "'teacher'"]),
    (["evaluate=[{suite: retrievel}]"], ["`evaluate.0.suite`", "'retrieval'"]),
    (["evaluate=[{suite: retrieval}]"], ["`evaluate.0.data`"]),
    (["evaluate=[{suite: retrieval, data: 'karpathy:gone.json@test'}]"], ["`evaluate.0.data`", "gone.json"]),
    (["evaluate=[{suite: petri, data: gone}]"], ["`evaluate.0.data`", "gone"]),
    (["evaluate=[{suite: zero_shot, data: x, template: plain}]"], ["`evaluate.0`", "`template`", "'templates'"]),
    (["evaluate=[{suite: zero_shot, data: x, templates: plane}]"], ["`evaluate.0`", "'plane'", "'plain'"]),
    (["evaluate=[{suite: zero_shot, data: x, class_names: gone.txt}]"], ["`evaluate.0`", "gone.txt"]),
    (["evaluate=[{suite: retrieval, data: '{world}/zero_shot/seen'}]"], ["`evaluate.0.data`", "captions"]),
    (["evaluate=[{suite: zero_shot, data: 'karpathy:{world}/dataset_petri.json@test'}]"],
     ["`evaluate.0.data`", "classes"]),
    (["petri={path: '{world}', images: 7}"], ["holds another petri world", "images is 48, not 7"]),
    (["train.trackers=[wandbee]"], ["`train.trackers.0`", "'tensorboard' or 'wandb'"]),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "wanted"), TRAIN, ids=[" ".join(typed) for typed, _ in TRAIN])
def test_train(
    command: Command, recipe: Path, world: Path, tmp_path: Path, typed: list[str], wanted: list[str]
) -> None:
    said = command("train", recipe, *(text.replace("{world}", str(world)) for text in typed), "--out", "run")
    line = said.complaint()
    for piece in wanted:
        assert piece in line, line
    assert list((tmp_path / "here").iterdir()) == [] and not (tmp_path / "store").exists()


COMMANDS = [
    (["train"], ["Missing argument", "RECIPE", "clipdistill train --help"]),
    (["train", "petri/quickstart"], ["--out", "runs/first"]),
    (["train", "petri/quickstrat", "--out", "run"], ["petri/quickstrat", "'petri/quickstart'"]),
    (["train", "gone.yaml", "--out", "run"], ["gone.yaml", "no such recipe file"]),
    (["train", "petri/quickstart", "--ot", "run"], ["--ot", "--out"]),
    (["trian"], ["trian", "train"]),
    (["recipes", "clip_kd/all_term"], ["clip_kd/all_term", "'clip_kd/all_terms'"]),
    (["cache", "petri/teacher"], ["`teachers`", "store"]),
    (["cache", "petri/quickstart", "--batch-size", "0"], ["--batch-size"]),
    (["evaluate", "petri-student"], ["--suite"]),
    (["evaluate", "petri-student", "--suite", "petri"], ["--data"]),
    (["evaluate", "petri-student", "--suite", "petry", "--data", "x"], ["--suite", "'petri'"]),
    (["evaluate", "petri-student", "--suite", "petri", "--data", "x"], ["petri-student", "random weights"]),
    (["evaluate", "gone/run", "--suite", "petri", "--data", "x"], ["gone/run", "no such folder"]),
    (["evaluate", "{teacher}", "--suite", "petri", "--data", "gone"], ["gone", "clipdistill petri gone"]),
    (["evaluate", "{teacher}", "--suite", "retrieval", "--data", "{world}/zero_shot/seen"], ["captions"]),
    (["evaluate", "{teacher}", "--suite", "petri", "--data", "x", "--option", "chunk"], ["chunk", "key=value"]),
    (["evaluate", "{teacher}", "--suite", "petri", "--data", "x", "--option", "chunks=3"], ["`chunks`", "'chunk'"]),
    (["evaluate", "{teacher}", "--suite", "petri", "--data", "x", "--option", "suite=3"], ["suite"]),
    (["evaluate", "{teacher}", "--suite", "petri", "--data", "x", "--option", "chunk=[1"], ["chunk=[1", "YAML"]),
    (["evaluate", "{teacher}", "--suite", "petri", "--data", "{world}", "--json", "/proc/x/y"], ["--json /proc/x/y"]),
    (["evaluate", "{teacher}", "--suite", "petri", "--data", "{world}", "--json", "{world}"], ["--json", "folder"]),
    (["report"], ["RUN"]),
    (["report", "gone"], ["gone"]),
    (["report", "{world}"], ["petri"]),
    (["petri", "w", "--images", "none"], ["--images"]),
    (["petri", "w", "--images", "0"], ["--images"]),
    (["petri", "w", "--skew", "odd"], ["skew", "even", "natural"]),
    (["petri", "{teacher}"], ["teacher", "no petri world"]),
    (["petri", "/proc/w", "--images", "1"], ["/proc/w", "written"]),
    (["quickstart", "--out", "{teacher}/config.json"], ["config.json"]),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "wanted"), COMMANDS, ids=[" ".join(typed) for typed, _ in COMMANDS])
def test_other_commands(
    command: Command, world: Path, teacher: Path, tmp_path: Path, typed: list[str], wanted: list[str]
) -> None:
    line = command(*(text.format(world=world, teacher=teacher) for text in typed)).complaint()
    for piece in wanted:
        assert piece in line, line
    assert list((tmp_path / "here").iterdir()) == []


def test_a_tracker_that_is_not_installed(
    command: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking.filter_trackers", lambda _names, **_: [])
    line = command("train", recipe, "train.trackers=[tensorboard]", "--out", "run").complaint()
    assert "`train.trackers`" in line and "clipdistill[track]" in line and not (tmp_path / "store").exists()


def test_a_failed_evaluation_keeps_the_old_results(command: Command, teacher: Path, tmp_path: Path) -> None:
    results = tmp_path / "found.json"
    results.write_text("old")
    command("evaluate", teacher, "--suite", "petri", "--data", "gone", "--json", results).complaint()
    assert results.read_text() == "old"


def test_out_must_be_a_place_for_a_run(command: Command, recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert f"--out {file}: is a file" in command("train", recipe, "--out", file).complaint()
    assert "not a folder" in command("train", recipe, "--out", file / "run").complaint()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "holds other files" in command("train", recipe, "--out", tmp_path / "full").complaint()
    assert "can't be written" in command("train", recipe, "--out", "/proc/nothing/run").complaint()
    assert file.read_text() == "mine" and [p.name for p in (tmp_path / "full").iterdir()] == ["notes.txt"]
    assert not (tmp_path / "store").exists()


def test_a_recipe_file_that_is_no_recipe(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    for text, wanted in (
        ("a: [", "not valid YAML"),
        ("just words", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("extends: nothing-here", "nothing-here"),
        (f"extends: {path}", "circle"),
        ("extends: petri/quickstart\ntrain: null", "`train`"),
        ("extends: petri/quickstart\ndata: {train: {format: csv}}", "`data.train`"),
        ("name: x", "`data` is missing"),
    ):
        path.write_text(text)
        line = command("train", path, "--out", "run").complaint()
        assert wanted in line and str(path) in line, line


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (["data.augment.crop_scale=[0.1, 1.0]"], "augmentation plan"),
        (["data.augment.views=3"], "augmentation plan"),
        (["seed=5"], "augmentation plan"),
        (["data.train.0.split=test", "train.batch_size=8"], "data source 'petri' has changed"),
        (["data.train.0.name=other"], "aren't in this store"),
    ],
)
def test_a_store_of_something_else(
    command: Command, recipe: Path, tmp_path: Path, change: list[str], wanted: str
) -> None:
    assert command("cache", recipe).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    for words in (["train", recipe, "--out", "run"], ["cache", recipe]):
        line = command(*words, *change).complaint()
        assert str(tmp_path / "store") in line and wanted in line and "delete" in line, line
    assert list((tmp_path / "here").iterdir()) == []
    assert {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()} == before


def test_a_store_of_another_teacher(command: Command, recipe: Path, tmp_path: Path) -> None:
    from clipdistill.export import save_student
    from clipdistill.models import create_model

    assert command("cache", recipe).code == 0
    save_student(create_model("petri-student", seed=8), tmp_path / "other")
    line = command("train", recipe, f"teachers.0.model={tmp_path / 'other'}", "--out", "run").complaint()
    assert "the teacher (weights" in line and not Path("run").exists()
