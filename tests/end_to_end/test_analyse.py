"""`clipdistill analyse` from the command line: tiny models before and after, the page, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command

from clipdistill.kinds import KINDS
from clipdistill.models import create_model
from clipdistill.models.fusion import create_fusion
from clipdistill.models.fusion.clip_adapter import create_adapter
from clipdistill.models.fusion.clip_vil import create_clip_vil
from clipdistill.petri import write_world
from clipdistill.recipe_files import load_recipe


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysed") / "world"
    write_world(folder, images=4, val=4, test=4, seed=3, formats=("vcr", "snli_ve", "vqa"))
    return folder


def run(folder: Path, model: Any, seed: int, name: str = "vl_bert_vcr") -> Path:
    """What a training leaves that an analysis reads: the recipe and the student."""
    recipe = load_recipe(f"petri/vl/{name}").model_dump(mode="json") | {"seed": seed}
    if recipe["regions"] is not None:
        recipe["regions"]["store"] = str(folder.parent / "training_regions")
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    KINDS["fusion"].save(model, folder / "student")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    heads = {"vcr": 1}
    made = {
        f"{name}-{seed}": run(folder / f"{name}-{seed}", create_fusion("petri-vl-bert", start, heads=heads), seed)
        for name, start in (("base", 0), ("td", 10)) for seed, start in ((0, start), (1, start + 1))
    }  # fmt: skip
    made["bert"] = run(folder / "bert", create_fusion("petri-bert", 0, heads=heads), 0)
    adapter = create_adapter("clip-mlp-1-cosine", create_model("petri-tiny-student", 0), 0)
    adapter.add_heads({"vcr": 1}, 0)
    made["adapter"] = run(folder / "adapter", adapter, 0)
    made["headless"] = run(folder / "headless", create_fusion("petri-vl-bert", 0, heads={"snli_ve": 3}), 0)
    KINDS["fusion"].save(create_fusion("petri-vl-bert", 0, heads=heads), folder / "plain")
    made["plain"] = folder / "plain"
    return made


def test_before_and_after_over_two_seeds(command: Command, runs: dict[str, Path], world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = command(
        "analyse", runs["td-1"], runs["td-0"], "--against", runs["base-0"], "--against", runs["base-1"],
        "--data", world, "--out", out, "--count", 6, "--show", "test-1", "--words", "petri-teacher-small", "--ablate",
    )  # fmt: skip
    assert said.code == 0, said.err[-2000:]
    found = json.loads((out / "analysis.json").read_text())
    assert found["data"] == "petri/vcr" and found["questions"] == 6
    assert [(model["role"], model["seed"]) for model in found["models"]] == [
        ("before", 0), ("before", 1), ("after", 0), ("after", 1)
    ]  # fmt: skip
    for model in found["models"]:
        text, vision = model["heads"]["text"], model["heads"]["vision"]
        assert len(text) == 2 and len(text[0]) == 4
        for layer in range(2):
            both = [one + other for one, other in zip(text[layer], vision[layer], strict=True)]
            assert both == pytest.approx([1] * 4, abs=1e-5)
            assert model["layers"]["text"][layer] == pytest.approx(sum(text[layer]) / 4)
        assert set(model["ablation"]) == {"as_it_is", "no_picture", "other_picture", "no_question"}
        assert "words carry the visual feature" in model["carries"]
    pairs, seeds = found["comparison"]["pairs"], {(m["role"], m["seed"]): m for m in found["models"]}
    for seed, pair in enumerate(pairs):
        before, after = seeds["before", seed], seeds["after", seed]
        assert pair["vision_up"] == pytest.approx(after["vision"] / before["vision"] - 1)
        assert pair["gap_reduced"] == pytest.approx(1 - after["gap"] / before["gap"])
    assert found["comparison"]["paper"] == {"gap_reduced": 0.36, "vision_up": 0.106}
    (shown,) = found["words"]
    assert shown["id"] == "test-1" and set(shown["attention"]) == {"before", "after"} and any(shown["scores"])
    assert sum(shown["attention"]["after"]) + shown["picture"]["after"] == pytest.approx(1, abs=1e-5)

    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    for words in ("36 %", "10.6 %", "test-1", "without the picture", "Attention is not influence", "count as text"):
        assert words in page and words in text, words
    assert "http" not in page.replace("http://www.w3.org", "") and page.count("<svg") == 2
    assert 'name="viewport"' in page
    pictures = sorted(file.name for file in (out / "analysis_files").iterdir())
    assert pictures == ["heads.png", "layers.png", "words-0.png"]
    assert all(f"analysis_files/{name}" in text for name in pictures)
    assert "gap, smaller by" in said.out and "the paper" in said.out
    # Runs that find regions alike share one store, of all pictures; another count finds it there.
    stores = [one for one in runs.values() if (one / "evaluation_regions").exists()]
    assert len(stores) == 1 and stores[0].name == "base-0" or stores[0].name == "td-0"


@pytest.mark.parametrize(("format", "head"), [("snli_ve", {"snli_ve": 3}), ("vqa", {"vqa": 5})])
def test_other_questions_and_one_model(
    command: Command, world: Path, tmp_path: Path, format: str, head: dict[str, int]
) -> None:
    answers = len((world / "vqa" / "answers.txt").read_text().split("\n")) - 1
    heads = head if format == "snli_ve" else {"vqa": answers}
    model = run(tmp_path / "run", create_fusion("petri-uniter", 0, heads=heads), 0, f"uniter_{format}")
    for data in (world, *([f"snli_ve:{world / 'snli_ve'}@test"] if format == "snli_ve" else [])):
        said = command(
            "analyse", model, "--data", data, "--out", tmp_path / "out", "--queries", "all", "--show", 0, "--ablate"
        )
        assert said.code == 0, said.err[-2000:]
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert set(found["models"][0]["ablation"]) == {"as_it_is", "no_picture", "other_picture", "no_question"}
    assert found["comparison"] is None and found["words"] == [] and found["settings"]["queries"] == "all"
    assert found["models"][0]["carries"] == "" and "One run" in said.out


def test_a_model_that_reads_pictures(command: Command, world: Path, tmp_path: Path) -> None:
    model = create_clip_vil("petri-clip-vil", create_model("petri-tiny-student", 0), 0)
    model.add_heads({"vcr": 2}, 0)
    folder = run(tmp_path / "run", model, 0, "clip_vil_vcr")
    said = command("analyse", folder, "--data", world, "--out", tmp_path / "out", "--count", 5, "--show", 1, "--ablate")
    assert said.code == 0, said.err[-2000:]
    (found,) = json.loads((tmp_path / "out" / "analysis.json").read_text())["models"]
    assert found["questions"] == 5 and found["tokens"]["regions"] == model.grid**2 + 1
    assert not (folder / "evaluation_regions").exists()


def test_what_is_refused_in_one_line(command: Command, runs: dict[str, Path], world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def line(*given: object, data: object = world) -> str:
        return command("analyse", *given, "--data", data, "--out", out).complaint()

    assert "'petri-bert' sees no picture" in line(runs["bert"])
    assert "is an adapter on a frozen CLIP" in line(runs["adapter"])
    assert "is a dual_encoder" in line("petri-teacher-small")
    assert "has no head 'vcr'" in line(runs["headless"], data=f"vcr:{world / 'vcr'}@test")
    assert "only a run with `regions`" in line(runs["plain"], "--regions", tmp_path / "none")
    assert "say where their store lies" in line(runs["plain"])
    assert "--against: 1 for 2 runs" in line(runs["td-0"], runs["td-1"], "--against", runs["base-0"])
    assert "--show nobody: petri/vcr has no question of that id" in line(runs["td-0"], "--show", "nobody")
    assert "--count 99999: petri/vcr has" in line(runs["td-0"], "--count", 99999)
    assert "--special" in line(runs["td-0"], "--special", "words")
    assert "--layer 9" in line(runs["td-0"], "--layer", 9)
    vqa = create_fusion("petri-vl-bert", 0, heads={"vqa": 2})
    other = run(tmp_path / "vqa", vqa, 0)
    assert "--ablate: fusion model 'petri-vl-bert' tells 2 answers apart and the data has" in line(other, "--ablate")
    assert "no such" in line(runs["td-0"], data=f"vcr:{tmp_path / 'nothing'}@val")
    assert "--words petri-diffusion: is a denoiser" in line(runs["td-0"], "--words", "petri-diffusion")
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in command("analyse", runs["td-0"], "--data", world, "--out", file).complaint()
    unlabelled = tmp_path / "vcr"
    shutil.copytree(world / "vcr", unlabelled)
    shutil.copytree(world / "images", tmp_path / "images")
    lines = [json.loads(each) for each in (unlabelled / "test.jsonl").read_text().splitlines()]
    without = [{key: value for key, value in each.items() if "label" not in key} for each in lines]
    (unlabelled / "test.jsonl").write_text("".join(json.dumps(each) + "\n" for each in without))
    assert "--pairs right: " in line(runs["td-0"], data=f"vcr:{unlabelled}@test")
    assert "--ablate: " in line(runs["td-0"], "--pairs", "all", "--ablate", data=f"vcr:{unlabelled}@test")
    assert "--show: " in line(runs["td-0"], "--pairs", "all", "--show", "test-0", data=f"vcr:{unlabelled}@test")
    assert "--words: " in line(runs["td-0"], "--show", 0, "--words", "petri-teacher-small")
    assert not out.exists()
    said = command("analyse", runs["td-0"], "--data", f"vcr:{unlabelled}@test", "--pairs", "all", "--out", out)
    assert said.code == 0, said.err[-2000:]
    assert json.loads((out / "analysis.json").read_text())["words"] == []
