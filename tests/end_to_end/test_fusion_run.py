"""Fusion students from the command line: trained, stopped and resumed to the same bits, exported, refused early."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command

from clipdistill.engine.trainer import Trainer
from clipdistill.kinds import kind_of, open_trained
from clipdistill.models import load_model
from clipdistill.models.fusion.config import NAMED
from clipdistill.petri import write_world
from clipdistill.recipe_files import load_recipe
from clipdistill.stores.regions import RegionStore
from tests.data import region_records as records

RECIPES = (
    "uniter_vcr", "uniter_snli_ve", "uniter_vqa", "vl_bert_vcr", "villa_vcr", "uniter_vcr_adapted", "bert_vcr",
    "bert_snli_ve", "bert_vqa", "clip_vil_vcr", "clip_vil_snli_ve", "clip_vil_vqa", "villa_vqa", "vl_bert_snli_ve",
    "clip_mlp_3_concat_vcr", "clip_attention_1_vcr", "clip_mlp_1_concat_snli_ve", "clip_attention_1_vqa", "vl_bert_vqa",
    "villa_snli_ve",
)  # fmt: skip
CLOCK = ("seconds", "samples_per_second", "mfu", "peak_memory_mb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The petri world that the recipes ask for, as `settings` cuts it down, and the regions of these tests in it."""
    world = tmp_path_factory.mktemp("vl") / "world"
    write_world(world, images=12, val=2, test=2, seed=3, formats=("vcr", "snli_ve", "vqa", "vcr_reversed"))
    return world


def settings(name: str, world: Path) -> list[str]:
    """Overrides that make of a recipe four steps on a micro world."""
    recipe = load_recipe(f"petri/vl/{name}")
    (source,) = recipe.data.train
    moved = {
        "petri.path": recipe.petri.path,  # type: ignore[union-attr]
        "data.train.0.path": source.path,
        **({} if recipe.regions is None else {"regions.store": recipe.regions.store}),
        **{f"data.train.0.{key}": value for key, value in source.options().items() if key in ("root", "answers")},
        "evaluate": json.dumps(recipe.model_dump(mode="json")["evaluate"]),
    }
    return [
        *(f"{key}={str(value).replace('petri-world-vl', str(world))}" for key, value in moved.items()),
        "petri.images=12", "petri.val=2", "petri.test=2", "train.epochs=9", "train.max_steps=4", "train.batch_size=8",
        "train.warmup_steps=1", "train.log_every=1", "train.checkpoint_every=2",
    ]  # fmt: skip


def numbers(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_resumes_to_the_same_bits_and_exports(
    command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calm, stopped = tmp_path / "calm", tmp_path / "stopped"
    said = command("train", f"petri/vl/{name}", *settings(name, folder), "--out", calm)
    assert said.code == 0, said.err[-2000:]

    steps, train_step = 0, Trainer.train_step

    def broken(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return train_step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", broken)
        assert command("train", f"petri/vl/{name}", *settings(name, folder), "--out", stopped).code == 130
    assert not (stopped / "student").exists()
    said = command("train", f"petri/vl/{name}", *settings(name, folder), "--out", stopped, "--resume")
    assert said.code == 0, said.err[-2000:]
    for file in (file.relative_to(calm) for file in (calm / "student").rglob("*.safetensors")):
        assert (calm / file).read_bytes() == (stopped / file).read_bytes(), file
    assert numbers(calm) == numbers(stopped)
    terms = {"loss/task", "loss/divergence"} if name.startswith("villa") else {"loss/task"}
    assert {key for key in numbers(calm)[0] if key.startswith("loss/")} == terms

    student = open_trained(calm)
    head = load_recipe(f"petri/vl/{name}").task.method
    pretraining = ["words", "region_features", "matching"] if name.endswith("adapted") else []
    start = load_recipe(f"petri/vl/{name}").student.model or ""
    brought = list(open_trained(start).heads) if start.endswith("-pretrained") else []
    wanted = list(dict.fromkeys([*brought, *pretraining, head]))
    assert kind_of(student).name == "fusion" and list(student.heads) == wanted
    if pretraining:
        logged = set(numbers(calm / "stages" / "adapt")[0])
        assert {"loss/words", "loss/regions", "loss/matching"} <= logged
    first = torch.load(calm / "checkpoints" / "step-00000002.pt", weights_only=True)["task"]
    final = student.state_dict()
    assert any(not torch.equal(first[f"student.{key}"], value) for key, value in final.items() if "heads" in key)
    assert (calm / "regions.png").is_file() == (not name.startswith(("bert", "clip_vil")))
    if name.startswith("clip_vil"):
        tower, before = load_model(calm / "student" / "clip"), load_model("petri-teacher-small")
        assert not torch.equal(tower.clip.visual.conv1.weight, before.clip.visual.conv1.weight)
        assert torch.equal(tower.clip.token_embedding.weight, before.clip.token_embedding.weight)


def test_what_cannot_work_is_said_before_the_training(command: Command, folder: Path, tmp_path: Path) -> None:
    usual = settings("uniter_vcr", folder)
    asked = ("train", "petri/vl/uniter_vcr", *usual, "--out", tmp_path / "run")
    said = command(*asked, "regions.model=null").complaint()
    assert "`regions.model` is missing: a fusion student embeds no regions" in said
    said = command(
        *asked,
        "regions.model=petri-teacher",
        "regions.features=crops",
        "regions.bins=2",
        "regions.pad=1.1",
        f"regions.store={tmp_path}/other",
    ).complaint()
    assert "`regions`: its features have a width of 192, and `student.model` takes 576" in said
    said = command(*asked, "student=uniter-base").complaint()
    assert "uniter-base" in said or "bert-base-cased" in said
    bare = [each for each in usual if not each.startswith("regions")]
    said = command("train", "petri/vl/uniter_vcr", *bare, "regions=null", "--out", tmp_path / "run").complaint()
    assert "`regions` is missing" in said
    said = command(*asked, "task.mode=q2b").complaint()
    assert "`task`" in said and "mode" in said
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_regions_alone_are_cached(command: Command, folder: Path, tmp_path: Path) -> None:
    store = f"regions.store={tmp_path}/regions"
    said = command("cache", "petri/vl/uniter_vcr", *settings("uniter_vcr", folder), store)
    assert said.code == 0 and (tmp_path / "regions" / "store.json").is_file(), said.err[-2000:]
    assert json.loads((tmp_path / "regions" / "store.json").read_text())["teacher"] == "petri-teacher-small"


def test_a_language_model_leaves_a_recipes_regions_alone(command: Command, folder: Path, tmp_path: Path) -> None:
    overrides = [*settings("uniter_vcr", folder), f"regions.store={tmp_path}/none", "evaluate=[{suite: vcr}]"]
    said = command("train", "petri/vl/uniter_vcr", *overrides, "student=petri-bert", "--plan")
    assert said.code == 0 and "regions" not in said.out, said.err[-2000:]
    said = command("train", "petri/vl/uniter_vcr", *overrides, "student=petri-bert", "--out", tmp_path / "run")
    assert said.code == 0, said.err[-2000:]
    assert not (tmp_path / "none").exists() and not (tmp_path / "run" / "evaluation_regions").exists()
    measured = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert "petri-bert" in json.dumps(measured) and "q2a" in json.dumps(measured).lower()
    said = command(
        "train", "petri/vl/uniter_vcr_adapted", *settings("uniter_vcr_adapted", folder), "student=petri-bert",
        "--out", tmp_path / "other",
    ).complaint()  # fmt: skip
    assert "`task.weights.regions`: 'petri-bert' sees no picture; set `task.weights` to {words: 1}" in said


def test_a_student_that_reads_pictures_is_pretrained_and_measured_without_regions(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    overrides = [*settings("uniter_vcr_adapted", folder), f"regions.store={tmp_path}/none", "evaluate=[{suite: vcr}]"]
    said = command(
        "train", "petri/vl/uniter_vcr_adapted", *overrides, "student=petri-clip-vil:petri-teacher-small", "--out", run
    )
    assert said.code == 0, said.err[-2000:]
    assert not (tmp_path / "none").exists() and not (run / "evaluation_regions").exists()
    logged = set(numbers(run / "stages" / "adapt")[0])
    assert {"loss/words", "loss/regions", "loss/matching"} <= logged
    towers = [load_model(place / "student" / "clip") for place in (run / "stages" / "adapt", run)]
    weights = [towers[0].clip.visual.conv1.weight, towers[1].clip.visual.conv1.weight]
    weights.append(load_model("petri-teacher-small").clip.visual.conv1.weight)
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    measured = command("evaluate", run, "--suite", "vcr", "--data", folder / "vcr")
    assert measured.code == 0 and "q2a" in measured.out.lower(), measured.err[-2000:]


def test_regions_of_a_map_train_and_are_forecast(command: Command, folder: Path, tmp_path: Path) -> None:
    sizes = tmp_path / "wide.json"
    sizes.write_text(json.dumps({**NAMED["petri-uniter-tags"], "region_width": 256}))
    overrides = [
        *settings("uniter_vcr", folder), f"regions.store={tmp_path}/map", "regions.features=map", f"student={sizes}",
        "regions.bins=2", "regions.pad=1.1", "regions.whole=false", "evaluate=[{suite: vcr}]",
    ]  # fmt: skip
    said = command("train", "petri/vl/uniter_vcr", *overrides, "--out", tmp_path / "run")
    assert said.code == 0, said.err[-2000:]
    assert re.search(r"time .* for regions \+ .* for regions to measure with", " ".join(said.err.split()))
    store = RegionStore.open(tmp_path / "map")
    assert store.meta["crop"] == "map 1 (64x16x16), 2x2 bins, pad 1.1" and store.meta["embed_dim"] == 256
    assert len(store.ids) == 12 and len({one.rpartition("/")[2] for one in store.ids}) == 12  # a picture once
    measured = RegionStore.open(tmp_path / "run" / "evaluation_regions" / "petri_vcr")
    assert measured.meta["crop"] == store.meta["crop"] and len(measured.ids) == 2
    said = command("train", "petri/vl/uniter_vcr", *overrides, "regions.level=7", "--out", tmp_path / "b").complaint()
    assert "`regions`: `level`: 'petri-teacher-small' has no map 7; it has" in said
    said = command(
        "train", "petri/vl/uniter_vcr", *overrides, "regions.crop=centre", "--out", tmp_path / "b"
    ).complaint()
    assert "`crop` is of the other `features`" in said


def test_regions_from_a_file_train_and_what_it_lacks_is_said_first(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    images = sorted(file.stem for file in (folder / "images").iterdir())
    file, sizes = tmp_path / "features.tsv", tmp_path / "small.json"
    file.write_text("".join(records.tsv_line(str(int(one)), records.regions(int(one), 3), 10) for one in images))
    sizes.write_text(json.dumps({**NAMED["petri-uniter"], "region_width": records.WIDTH}))
    source = f"regions={{provider: files, layout: tsv, path: {file}, store: {tmp_path / 'store'}}}"
    usual = [each for each in settings("uniter_vqa", folder) if not each.startswith("regions")]
    recipe = load_recipe("petri/vl/uniter_vqa").model_dump(mode="json") | {"regions": None}
    own = tmp_path / "recipe.yaml"
    own.write_text(json.dumps(recipe))
    asked = ("train", own, *usual, source, f"student={sizes}", "evaluate=[{suite: vqa}]", "--out")
    said = command(*asked, tmp_path / "run")
    assert said.code == 0, said.err[-2000:]
    store = RegionStore.open(tmp_path / "store")
    assert len(store.ids) == 12 and store.meta["provider"] == "files" and store.meta["embed_dim"] == records.WIDTH
    assert len(RegionStore.open(tmp_path / "run" / "evaluation_regions" / "petri_vqa").ids) == 2
    assert store.meta["max_regions"] == 100 and store.meta["min_score"] == 0.2
    again = command("evaluate", tmp_path / "run", "--suite", "vqa", "--data", folder)  # by the recipe as the run has it
    assert again.code == 0, again.err[-2000:]
    # Without the pictures of the test split: said before the training, though the training's are all there.
    lines = file.read_text().splitlines(keepends=True)
    tested = {
        int(one.rpartition(".")[0]) for one in RegionStore.open(tmp_path / "run/evaluation_regions/petri_vqa").ids
    }
    file.write_text("".join(line for line in lines if int(line.split("\t")[0]) not in tested))
    said = command(*asked, tmp_path / "other").complaint()
    assert "`regions`: " in said and "has no features of 2 of 2 pictures" in said
    assert not (tmp_path / "other" / "checkpoints").exists()
    said = command(*asked, tmp_path / "third", "regions.layout=tsw").complaint()
    assert "`regions`: `layout`: no layout 'tsw'. Did you mean 'tsv'" in said
    said = command(*asked, tmp_path / "third", "regions.model=petri-teacher-small").complaint()
    assert "`regions.provider`: files have their features; remove `model`" in said
    file.write_text("".join(lines))
    said = command(*asked, tmp_path / "third", "student=petri-uniter").complaint()
    assert "`regions`: its features have a width of 6, and `student.model` takes 576" in said
