"""`clipdistill rank-teachers` from the command line: live and stored teachers, order, batches, outcomes, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command

from clipdistill.analysis.forecasting import SCORES, parts_of
from clipdistill.analysis.told import Items
from clipdistill.analysis.untrained import fresh_norms, read_student, student_features
from clipdistill.data import AugmentPlan, Mixture, open_source
from clipdistill.export import save_student
from clipdistill.models import create_model, load_model
from clipdistill.petri import write_world
from clipdistill.stores import cache_teacher

STUDENT = "petri-tiny-student"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranked") / "world"
    write_world(
        folder, images=90, val=2, test=2, seed=5, image_size=32, zero_shot=1, formats=("karpathy", "imagefolder")
    )
    return folder


@pytest.fixture(scope="module")
def placebo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("placebo") / "random"
    save_student(create_model("petri-student", seed=7), folder)
    return folder


def data_of(world: Path) -> str:
    return f"karpathy:{world / 'dataset_petri.json'}@train"


def ranked(command: Command, tmp_path: Path, world: Path, *given: Any) -> dict[str, dict[str, Any]]:
    out = tmp_path / "scores.json"
    said = command(
        "rank-teachers", "--student", STUDENT, "--data", data_of(world), "--workers", 0, "--json", out, *given
    )
    assert said.code == 0, said.err[-2000:]
    content = json.loads(out.read_text())
    return {"": content, **{row["name"]: row for row in content["teachers"]}}


def close(found: dict[str, Any], other: dict[str, Any], within: float) -> None:
    assert set(found) == set(other)
    for name in other:
        assert found[name] == pytest.approx(other[name], abs=within), name


def test_a_placebo_is_easiest_to_learn_and_takes_the_student_nowhere(
    command: Command, pictures: Path, placebo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "outcome.json"
    out.write_text(json.dumps({"petri-teacher-small": [0.5, 0.6], str(placebo): 0.1}))
    found = ranked(
        command, tmp_path, pictures, "--teacher", "petri-teacher-small", "--teacher", placebo, "--seeds", 2,
        "--outcome", out,
    )  # fmt: skip
    content, teacher, random = found[""], found["petri-teacher-small"], found[str(placebo)]
    assert content["items"] == 90 and sum(content["parts"]) == 90 and content["left_out"] == 0
    assert content["chance"]["neighbours"] == pytest.approx(10 / 89)
    assert teacher["scores"]["parameters"] == sum(
        p.numel() for p in load_model("petri-teacher-small").clip.parameters()
    )
    assert set(teacher["scores"]) == {*SCORES, "ridge_penalty", "logme_own"}
    for name in ("accuracy", "reached", "parameters"):
        assert (teacher["ranks"][name], random["ranks"][name]) == (1, 2), name
    for name in ("ridge_r2", "cka", "neighbours", "logme"):
        assert (teacher["ranks"][name], random["ranks"][name]) == (2, 1), name
    assert teacher["sd"]["cka"] > 0 and "accuracy" not in teacher["sd"]
    rows = {row["score"]: row for row in content["outcome"]["scores"]}
    assert rows["reached"]["rho"] == 1 and rows["ridge_r2"]["rho"] == -1 and content["outcome"]["metric"] == "score"
    assert rows["ridge_r2"]["against"]["accuracy"] == {"difference": -2, "interval": None, "disputed": 1, "won": 0}


def test_a_store_says_what_its_teacher_says(command: Command, pictures: Path, placebo: Path, tmp_path: Path) -> None:
    pair = ("--teacher", "petri-teacher-small", "--teacher")
    live = ranked(command, tmp_path, pictures, *pair, placebo)
    store = tmp_path / "store"
    written = ranked(command, tmp_path, pictures, *pair, f"{placebo}={store}")
    assert (store / "store.json").is_file() and written[str(placebo)]["origin"] == f"store {store}"
    close(written[str(placebo)]["scores"], live[str(placebo)]["scores"], 5e-3)  # half precision
    before = (store / "store.json").stat().st_mtime_ns
    name = json.loads((store / "store.json").read_text())["teacher"]
    again = ranked(command, tmp_path, pictures, *pair, f"{placebo}={store}")
    assert again[str(placebo)]["scores"] == written[str(placebo)]["scores"]
    assert (store / "store.json").stat().st_mtime_ns == before
    alone = ranked(command, tmp_path, pictures, *pair, store)  # by its folder, the weights perhaps elsewhere
    assert alone[name]["scores"]["ridge_r2"] == written[str(placebo)]["scores"]["ridge_r2"]

    other = tmp_path / "cropped"
    mixture = Mixture([(open_source({"format": "karpathy", "path": str(pictures / "dataset_petri.json"),
                                     "split": "train"}), None)])  # fmt: skip
    plan = AugmentPlan(crop_scale=(0.3, 0.6), views=2)
    cache_teacher(load_model("petri-teacher-small"), mixture, plan, other)
    seen = ranked(command, tmp_path, pictures, "--teacher", other, "--teacher", placebo)
    assert seen[str(placebo)]["scores"]["accuracy"] is not None
    # The live teacher and the student are shown the store's crops, not whole pictures.
    assert abs(seen[str(placebo)]["scores"]["cka"] - live[str(placebo)]["scores"]["cka"]) > 1e-3
    said = command(
        "rank-teachers", "--student", STUDENT, "--data", data_of(pictures), *pair[:1], other, "--teacher", store
    )
    assert "other views" in said.complaint()


def test_neither_batches_nor_the_order_of_the_data_change_a_score(
    command: Command, pictures: Path, placebo: Path, tmp_path: Path
) -> None:
    annotations = json.loads((pictures / "dataset_petri.json").read_text())
    turned = tmp_path / "turned"
    turned.mkdir()
    (turned / "images").symlink_to(pictures / "images")
    (turned / "dataset_petri.json").write_text(json.dumps({**annotations, "images": annotations["images"][::-1]}))
    given = ("--teacher", "petri-teacher-small", "--teacher", placebo)
    found = ranked(command, tmp_path, pictures, *given)
    other = ranked(command, tmp_path, turned, *given, "--batch-size", 7)
    for name in ("petri-teacher-small", str(placebo)):
        close(other[name]["scores"], found[name]["scores"], 1e-4)
    assert ranked(command, tmp_path, pictures, *given)[""] == found[""]  # and nothing is drawn afresh


def test_norms_that_never_saw_a_picture_are_settled_alike_whatever_the_batch(pictures: Path) -> None:
    source = open_source({"format": "karpathy", "path": str(pictures / "dataset_petri.json"), "split": "train"})
    spec = read_student("petri-rn")
    model = spec.start(0, "cpu")
    assert fresh_norms(model) and not fresh_norms(load_model("petri-teacher-small"))
    found = []
    for batch_size in (16, 90):
        items = Items(Mixture([(source, None)]), batch_size=batch_size, workers=0)
        fitted = items.rows[parts_of(items.names, 0) == 0]
        found.append(torch.as_tensor(student_features(spec, items, "grid", 0, fitted)))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)
    spread = (found[0] - found[0].mean(0)).norm() / found[0].norm()
    assert spread > 0.1  # with the norms as they start, pictures are hardly told apart


def test_pictures_that_cannot_be_read_are_left_out_for_all(command: Command, placebo: Path, tmp_path: Path) -> None:
    world = tmp_path / "world"
    write_world(world, images=80, val=1, test=1, seed=6, image_size=32, zero_shot=1, formats=("karpathy",))
    annotations = json.loads((world / "dataset_petri.json").read_text())
    first = next(one for one in annotations["images"] if one["split"] == "train")
    (broken,) = world.rglob(first["filename"])
    broken.write_bytes(b"no picture")
    found = ranked(command, tmp_path, world, "--teacher", "petri-teacher-small", "--teacher", placebo)
    assert found[""]["items"] == 79 and found[""]["left_out"] == 1


def test_student_and_data_are_a_recipe_s_and_accuracy_another_suite_s(
    command: Command, pictures: Path, placebo: Path, tmp_path: Path
) -> None:
    recipe, store = tmp_path / "micro.yaml", tmp_path / "cached"
    source = {"format": "karpathy", "path": str(pictures / "dataset_petri.json"), "split": "train", "name": "mine"}
    values = {
        "name": "micro", "seed": 3, "student": "petri-rn", "data": {"train": [source], "workers": 0},
        "teachers": [{"model": "petri-teacher-small", "store": str(store)}], "train": {"batch_size": 16},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(values))
    assert command("cache", recipe).code == 0  # crops, as the recipe has them, under the source's own name
    out = tmp_path / "scores.json"
    said = command(
        "rank-teachers", "--student", recipe, "--teacher", f"petri-teacher-small={store}", "--teacher", placebo,
        "--accuracy", f"zero_shot=imagefolder:{pictures / 'zero_shot' / 'seen'}", "--count", 70, "--features", "grid",
        "--workers", 0, "--json", out,
    )  # fmt: skip
    assert said.code == 0, said.err[-2000:]
    found = json.loads(out.read_text())
    assert found["student"] == "petri-rn" and found["settings"]["seed"] == 3 and found["items"] == 70
    assert found["teachers"][0]["scores"]["accuracy"] > 0.2 > found["teachers"][1]["scores"]["accuracy"]
    assert found["teachers"][0]["origin"] == f"store {store}" and "caching" not in said.err
    assert "petri-rn, untrained, on 70 pictures" in said.out and "reached" in said.out


def test_mistakes_are_one_line(command: Command, pictures: Path, placebo: Path, tmp_path: Path) -> None:
    def complaint(*given: Any, student: Any = STUDENT, data: Any = None) -> str:
        data = data or data_of(pictures)
        return command("rank-teachers", "--student", student, "--data", data, "--workers", 0, *given).complaint()

    two = ("--teacher", "petri-teacher-small", "--teacher", placebo)
    assert "name two or more different" in complaint("--teacher", placebo)
    assert "name two or more different" in complaint("--teacher", placebo, "--teacher", placebo)
    assert "a name alone has random weights" in complaint("--teacher", "petri-student", *two)
    assert "--teacher petri-diffusion: a denoiser" in complaint("--teacher", "petri-diffusion", *two)
    assert "--student petri/vl/uniter_vcr: a fusion" in complaint(*two, student="petri/vl/uniter_vcr")
    assert "--student petri-uniter: a fusion" in complaint(*two, student="petri-uniter")
    assert "--data" in complaint(*two, data="karpathy:nowhere.json@train")
    assert "--count 1000" in complaint(*two, "--count", 1000)
    missing = command("rank-teachers", "--student", STUDENT, *two).complaint()
    assert "--data is missing" in missing and "is a model" in missing
    assert "give 50 or more" in complaint(*two, "--count", 20)
    assert "--neighbours 90" in complaint(*two, "--neighbours", 90)
    assert "--features patches" in complaint(*two, "--features", "patches")
    assert "--accuracy petri: write SUITE=DATA" in complaint(*two, "--accuracy", "petri")
    assert "--accuracy" in complaint(*two, "--accuracy", "petrol=here")
    assert "--json" in complaint(*two, "--json", tmp_path)
    out = tmp_path / "outcome.json"
    out.write_text('{"petri-teacher": 0.5, "petri-teacher-small": 0.4}')
    assert "add --teacher petri-teacher" in complaint(*two, "--outcome", out)
