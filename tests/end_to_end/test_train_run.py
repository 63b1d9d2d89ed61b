"""`train` from recipe to report: every file of a run is there, opens, and says the same as the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image

import clipdistill
from clipdistill.data.sources import FORMATS
from clipdistill.engine.trainer import Trainer
from clipdistill.evaluate.suites import SUITES
from clipdistill.models import load_model
from clipdistill.recipe_files import load_recipe


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def suites(world: Path) -> str:
    retrieval = f"{{suite: retrieval, data: 'karpathy:{world / 'dataset_petri.json'}@test'}}"
    return f"evaluate=[{retrieval}, {{suite: zero_shot, data: '{world / 'zero_shot' / 'unseen'}', templates: petri}}]"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The format and split of every source that is opened, in order."""
    found: list[tuple[str, Any]] = []

    def counted(kind: str, opener: Callable[..., Any]) -> Callable[..., Any]:
        def open_counted(**options: Any) -> Any:
            found.append((kind, options.get("split")))
            return opener(**options)

        return open_counted

    for kind, opener in FORMATS.items():
        monkeypatch.setitem(FORMATS, kind, counted(kind, opener))
    return found


@pytest.fixture
def seen_batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every batch that a trainer is given, in order."""
    seen: list[dict[str, Any]] = []
    step = Trainer.train_step

    def note(self: Trainer, batch: dict[str, Any]) -> dict[str, float]:
        seen.append({key: value.clone() for key, value in batch.items() if isinstance(value, torch.Tensor)})
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", note)
    return seen


def test_a_whole_run(
    command: Command, recipe: Path, world: Path, tmp_path: Path, seen_batches: list[dict[str, Any]],
    opened: list[tuple[str, Any]],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    said = command("train", recipe, suites(world), "compare=[teacher, base, control]", "--out", out)
    assert said.code == 0, said.err
    assert said.out.endswith(f"student: {out / 'student'}\nreport: {out / 'report.html'}\n")

    # The data of the suites was opened once, for the check before the training, four models and the examples.
    assert opened.count(("karpathy", "test")) == opened.count(("imagefolder", None)) == 1
    assert (out / "examples.json").is_file()

    # The plan came first, and the store was written.
    assert said.err.index("plan: micro") < said.err.index("caching") < said.err.index("training: 6/6")
    assert (tmp_path / "store" / "store.json").is_file()
    assert "petri: 48" in said.err and "6 of 16 pairs" in said.err

    # The control saw what the student saw: samples, views, captions and pixels, batch by batch.
    assert len(seen_batches) == 12
    for student, control in zip(seen_batches[:6], seen_batches[6:], strict=True):
        assert student.keys() == control.keys()
        for key in student:
            assert torch.equal(student[key], control[key]), key

    # Both left all that a run leaves.
    for run, terms in ((out, {"task", "crd", "fd", "icl"}), (out / "control", {"task"})):
        lines = read_lines(run / "metrics.jsonl")
        assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
        assert [line["epoch"] for line in lines] == [0, 0, 0, 1, 1, 1]
        wanted = {"loss", "lr", "grad_norm", "samples_per_second", "mfu", "peak_memory_mb", "seconds"}
        assert all(wanted | {f"loss/{term}" for term in terms} <= line.keys() for line in lines)
        assert [path.name for path in sorted((run / "checkpoints").iterdir())] == [
            "step-00000004.pt", "step-00000006.pt"
        ]  # fmt: skip
        assert (run / "bad_samples.jsonl").read_text() == ""
        assert json.loads((run / "environment.json").read_text())["packages"]["torch"]
    again = load_recipe(out / "recipe.yaml")
    assert again.model_dump() == load_recipe(recipe, [suites(world), "compare=[teacher, base, control]"]).model_dump()
    loss = sum(w * read_lines(out / "metrics.jsonl")[0][f"loss/{t}"] for t, w in
               {"task": 1, "crd": 1, "fd": 2000, "icl": 1}.items())  # fmt: skip
    assert read_lines(out / "metrics.jsonl")[0]["loss"] == pytest.approx(loss)

    # Evaluation: every role on the same suites; the base is the student before its first step.
    models = json.loads((out / "evaluation.json").read_text())["models"]
    assert list(models) == ["teacher", "base", "control", "student"]
    kinds = [[(r["evaluator"], r["data"]) for r in model["results"]] for model in models.values()]
    assert kinds[0] and all(each == kinds[0] for each in kinds)
    assert kinds[0] == [("retrieval", "petri"), ("zero_shot", "unseen")]
    assert models["student"]["results"][0]["n"] == 12
    page = (out / "report.html").read_text()
    assert "unseen" in page and "control" in page and 'src="http' not in page
    assert "control" in (out / "report.md").read_text() and "What each model costs" in said.out

    # The student moved, and its folder is the model that was measured.
    found = command("evaluate", out, "--suite", "petri", "--data", world, "--json", tmp_path / "found.json")
    assert found.code == 0, found.err
    measured = json.loads((tmp_path / "found.json").read_text())
    assert [r["data"] for r in measured["results"]][:2] == ["petri/test", "petri/seen"] and "petri/test" in found.out
    assert measured["results"][0]["metrics"] == models["student"]["results"][0]["metrics"]
    assert measured["parameters"] == models["student"]["parameters"]

    # A second report over the run, elsewhere, and a second training into it.
    assert command("report", out, "--out", tmp_path / "page").code == 0
    assert (tmp_path / "page" / "report.html").is_file()
    assert "--resume" in command("train", recipe, "--out", out).complaint()

    check_student_opens_everywhere(out / "student", world / "images")


def check_student_opens_everywhere(student: Path, images: Path) -> None:
    """open_clip, transformers and we: the same embeddings of the same pictures and texts."""
    import open_clip
    from transformers import CLIPModel, CLIPProcessor

    files = sorted(images.iterdir())[:3]
    texts = ["a red circle", "a small blue star above a green square", ""]
    ours = load_model(student)
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(f).convert("RGB"))).permute(2, 0, 1) for f in files])
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{student}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{student}")
    theirs, processor = CLIPModel.from_pretrained(student).eval(), CLIPProcessor.from_pretrained(student)
    opened = [Image.open(f).convert("RGB") for f in files]
    with torch.inference_mode():
        model.eval()
        first = model.encode_image(torch.stack([preprocess(image) for image in opened]))
        words = model.encode_text(tokenizer(texts))
        inputs = processor(images=opened, text=texts, return_tensors="pt", padding=True)
        second = theirs.get_image_features(pixel_values=inputs["pixel_values"])
        second_words = theirs.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        own_words = ours.encode_text(ours.tokenizer(texts))
        resized = torch.stack([(preprocess(image) * std(ours) + mean(ours)) for image in opened])
        own = ours.encode_image(resized)
    assert pixels.shape[0] == 3
    second, second_words = (getattr(value, "pooler_output", value) for value in (second, second_words))
    torch.testing.assert_close(own_words, words, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second_words, words, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own, first, rtol=1e-3, atol=1e-4)
    assert torch.nn.functional.cosine_similarity(second, first).min() > 0.999


def mean(model: Any) -> torch.Tensor:
    return torch.tensor(model.preprocess["mean"]).view(3, 1, 1)


def std(model: Any) -> torch.Tensor:
    return torch.tensor(model.preprocess["std"]).view(3, 1, 1)


def test_a_plan_writes_nothing(command: Command, recipe: Path, tmp_path: Path) -> None:
    before = files_below(tmp_path)
    said = command("train", recipe, "--plan", "data.train.0.count=32")
    assert said.code == 0 and "petri: 32" in said.err and "4 of 16 pairs" in said.err
    assert "to be written" in said.err and files_below(tmp_path) == before


def test_a_plan_leaves_no_petri_world(command: Command, teacher: Path, tmp_path: Path) -> None:
    small = [
        "petri.images=24",
        "petri.val=1",
        "petri.test=2",
        "petri.zero_shot=1",
        "petri.image_size=16",
        "train.batch_size=8",
    ]
    said = command("train", "petri/quickstart", f"teachers.0.model={teacher}", *small, "--plan")
    assert said.code == 0 and "petri: 24" in said.err, said.err
    assert list((tmp_path / "here").iterdir()) == []


def test_a_mixture_takes_what_is_asked_of_each(command: Command, recipe: Path, world: Path) -> None:
    sources = (
        f"data.train=[{{format: csv, path: '{world / 'captions_train.csv'}', root: '{world}', name: table, count: 20}},"
        f" {{format: coco, path: '{world / 'annotations' / 'captions_test.json'}', root: '{world / 'images'}',"
        " name: coco}]"
    )
    said = command("train", recipe, sources, "--plan")
    assert said.code == 0 and "table: 20, coco: 12" in said.err, said.err


def test_caching_twice_does_nothing_the_second_time(command: Command, recipe: Path, tmp_path: Path) -> None:
    first = command("cache", recipe)
    assert first.code == 0 and first.out.strip() == str(tmp_path / "store"), first.err
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    second = command("cache", recipe)
    assert second.code == 0 and second.out == first.out and "caching" not in second.err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")} == before


def test_stored_targets_give_the_losses_of_the_live_teacher(
    command: Command, recipe: Path, teacher: Path, tmp_path: Path
) -> None:
    live = f"teachers=[{{model: '{teacher}'}}]"
    for name, extra in (("stored", []), ("live", [live])):
        said = command("train", recipe, *extra, "--out", tmp_path / name)
        assert said.code == 0, said.err
    stored, straight = (read_lines(tmp_path / name / "metrics.jsonl") for name in ("stored", "live"))
    for a, b in zip(stored, straight, strict=True):
        for term in ("loss", "loss/task", "loss/crd", "loss/fd", "loss/icl"):
            assert a[term] == pytest.approx(b[term], rel=2e-3, abs=1e-6), (a["step"], term)
    assert stored[0]["loss/task"] == straight[0]["loss/task"]


def test_other_commands(command: Command, tmp_path: Path) -> None:
    said = command("petri", tmp_path / "w", "--images", 4, "--val", 1, "--test", 1, "--image-size", 16)
    assert said.code == 0 and (tmp_path / "w" / "world.json").is_file()
    listed = command("recipes")
    assert listed.code == 0 and "petri/quickstart" in listed.out and "clip_kd/all_terms" in listed.out
    shown = command("recipes", "clip_kd/all_terms")
    assert shown.code == 0 and "name: clip_kd/all_terms" in shown.out
    assert "train" in command("--help").out
    said = " ".join(command("evaluate", "--help").out.split())
    assert all(f"{name}," in said or f"{name} [required]" in said for name in SUITES)
    assert command("--version").out == f"clipdistill {clipdistill.__version__}\n"
