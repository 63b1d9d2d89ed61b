"""A CLIP-ViL as the student of every task: pictures in the batch, one look at each, its tower trained or frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from question_files import pair, vcr_item, write_snli_ve, write_vcr
from tiny_fusion import TINY, tiny_fusion
from torch.nn.functional import cross_entropy

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.drawn_pictures import OtherTexts
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.evaluate import evaluate_suite
from clipdistill.models import create_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.models.fusion.clip_vil import ClipViL, create_clip_vil
from clipdistill.tasks.fusion_pretraining import FusionPretraining
from clipdistill.tasks.pretraining_losses import with_hidden
from clipdistill.tasks.vcr import VCR

TEXT = {
    "question": ["is", [2], "red", "?"],
    "answer_choices": [["yes", [0]], ["no"], ["a", "circle"], ["no", [3], "."]],
    "rationale_choices": [["it", "is"], ["blue"], ["green"], [[2], "is"]],
}


def vcr(folder: Path, name: str = "train.jsonl") -> Mixture:
    items = [vcr_item(k, **TEXT, answer_label=k % 4, rationale_label=(k + 1) % 4) for k in range(4)]
    return Mixture([(open_source({"format": "vcr", "path": write_vcr(folder, items, name)}), None)])


def student(**changes: Any) -> ClipViL:
    sizes = {key: value for key, value in TINY.items() if key != "region_width"}
    quiet = {"dropout": 0.0, "attention_dropout": 0.0, "positions": 64}
    return create_clip_vil(
        "petri-clip-vil", create_model("petri-tiny-student", seed=0), 0, **{**sizes, **quiet, **changes}
    )


def batch_of(task: Any, mixture: Mixture) -> dict[str, Any]:
    torch.manual_seed(0)
    task.prepare(mixture)
    task.double().train()
    loader = Loader(mixture, task.fields(mixture), batch_size=4, plan=AugmentPlan(), seed=0, shuffle=False)
    return next(iter(loader.epoch(0)))


@pytest.mark.parametrize("adversarial", [None, {"steps": 2}])
def test_micro_batches_change_nothing_and_the_tower_learns(adversarial: Any, tmp_path: Path) -> None:
    task = VCR(student(), options={"adversarial": adversarial})
    batch = batch_of(task, vcr(tmp_path))
    assert batch["image/student"].shape == (4, 3, 64, 64) and batch["object_regions"].shape == (4, 4)
    found = []
    for micro in (None, 1):
        task.zero_grad()
        terms = backward(task, batch, Ranks.current(), micro)
        given = {each.name: each.parameter.grad for each in task.trainable()}
        assert [name for name, value in given.items() if value is None] == ["student.embeddings.masked_feature"]
        found.append([*terms.values(), *(value for value in given.values() if value is not None)])
    tower = [each.parameter.grad for each in task.trainable() if each.name.startswith("student.clip.")]
    assert tower and all(value is not None and value.abs().max() > 0 for value in tower)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_a_step_looks_at_each_picture_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = VCR(student())  # answers and rationales: 32 pairs
    batch = batch_of(task, vcr(tmp_path))
    looked: list[int] = []
    image_tokens = type(task.student.clip).image_tokens
    monkeypatch.setattr(
        type(task.student.clip), "image_tokens",
        lambda self, pixels: (looked.append(len(pixels)), image_tokens(self, pixels))[1],
    )  # fmt: skip
    task.sample_losses(task.encode(batch), batch)
    assert looked == [4]


def test_a_tagged_word_carries_the_cell_that_shows_its_object(tmp_path: Path) -> None:
    task = VCR(student(), options={"mode": "q2a"})
    batch = batch_of(task, vcr(tmp_path))
    inputs = fusion_inputs(task.student.see(batch), "answers")
    assert inputs.tags is not None
    place = int((batch["answers/tags"][0, 0] == 2).nonzero()[0])  # "is [2] red?"
    cell = int(batch["object_regions"][0, 2])
    assert cell >= 0 and int(inputs.tags[0, place]) == cell + 1


def test_the_towers_share_of_the_learning_rate(tmp_path: Path) -> None:
    mixture = vcr(tmp_path)
    scales = {}
    for rate in (1.0, 0.25, 0.0):
        task = VCR(student(), options={"tower_lr": rate, "head_lr": 10})
        task.prepare(mixture)
        scales[rate] = {each.name: each.lr_scale for each in task.trainable()}
    tower = {name for name in scales[1.0] if name.startswith("student.clip.")}
    assert tower and all(name.startswith("student.clip.clip.visual.") for name in tower)
    assert {scales[0.25][name] for name in tower} == {0.25} and not tower & set(scales[0.0])
    assert scales[0.25]["student.heads.vcr.out.weight"] == 10 and scales[0.25]["student.pooler.dense.weight"] == 1
    frozen = VCR(student(), options={"tower_lr": 0.0})
    batch = batch_of(frozen, mixture)
    sum(value.sum() for value in frozen.sample_losses(frozen.encode(batch), batch).values()).backward()
    assert all(value.grad is None for value in frozen.student.clip.parameters())
    with pytest.raises(UserError, match=r"`task\.tower_lr`: .* has no image tower that trains; leave it out$"):
        VCR(tiny_fusion("uniter"), options={"tower_lr": 0.1})


def test_suites_measure_it_from_pictures(tmp_path: Path) -> None:
    model = student(heads={"vcr": 2})
    mixture = vcr(tmp_path, "val.jsonl")
    options = {"predictions": tmp_path / "saved.npz"}
    (found,) = evaluate_suite(model, "vcr", tmp_path, batch_size=8, options=options)
    (whole,) = evaluate_suite(model, "vcr", tmp_path, batch_size=64)
    assert found.n == 4 and found.metrics == whole.metrics
    task = VCR(model, options={"mode": "q2a"})
    fields = task.fields(mixture)
    batch = next(iter(Loader(mixture, fields, batch_size=4, plan=AugmentPlan(), seed=0, shuffle=False).epoch(0)))
    with torch.no_grad():
        scores = model.option_scores(model.scores("vcr", model.eval()(fusion_inputs(model.see(batch), "answers"))))
    right = (scores.view(4, 4).argmax(1) == batch["answer_label"]).float().mean()
    assert found.metrics["q2a"] == pytest.approx(float(right))
    (picture,) = tmp_path.rglob("*.png")
    before = (tmp_path / "saved.npz").read_bytes()
    pixels = torch.randint(256, (10, 12, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(picture)
    evaluate_suite(model, "vcr", tmp_path, batch_size=8, options=options)
    assert (tmp_path / "saved.npz").read_bytes() != before  # another picture, other answers


def test_pictures_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    lines = [
        pair(k, ("entailment", "contradiction")[k % 2], pairID=f"{picture}.jpg#{k}r1e", Flikr30kID=f"{picture}.jpg")
        for k, picture in enumerate([1, 2, 1, 2, 1])
    ]
    write_snli_ve(tmp_path, lines, "snli_ve_dev.jsonl")
    (tmp_path / "flickr30k-images" / "2.jpg").write_bytes(b"no picture")
    model = student(heads={"snli_ve": 3})
    saved = {"predictions": tmp_path / "saved.npz"}
    (found,) = evaluate_suite(model, "snli_ve", tmp_path, batch_size=2, options=saved)
    assert found.n == 3 and "2.jpg#1r1e" in str(found.artifacts) and "2.jpg#3r1e" in str(found.artifacts)
    kept = np.load(tmp_path / "saved.npz")
    assert [str(one).rpartition("/")[2] for one in kept["ids"]] == ["1.jpg#0r1e", "1.jpg#2r1e", "1.jpg#4r1e"]
    labels, best = np.array([0, 0, 0]), kept["classes"].argmax(axis=1)
    assert found.metrics["accuracy"] == pytest.approx((labels == best).mean())


def test_pretraining_masks_words_and_cells_and_exchanges_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = FusionPretraining(student(heads={}), options={"reads": "answers", "tower_lr": 0.5})
    batch = batch_of(task, vcr(tmp_path))
    assert {each.lr_scale for each in task.trainable() if each.name.startswith("student.clip.")} == {0.5}
    hidden = batch["hidden_regions"]
    assert hidden.shape == (4, 64) and hidden.any(dim=1).all() and not hidden.all(dim=1).any()
    assert (batch["matched/tags"] == -1).all() and (batch["plain/tags"] >= 0).any()
    own = batch["is_own"].bool()
    assert not any(name.startswith("other/") for name in batch)
    looked: list[int] = []
    see = ClipViL.see
    monkeypatch.setattr(ClipViL, "see", lambda self, batch: (looked.append(len(batch["sample"])), see(self, batch))[1])
    found = task.encode(batch)
    assert looked == [4] and {term: value.shape for term, value in found.items()} == dict.fromkeys(task.weights, (4,))
    # By hand: masked cells are guessed from the others, and what they are is no target to move.
    seen = task.student.see(batch)
    inputs = with_hidden(fusion_inputs(seen, "plain"), hidden)
    guessed = task.student.scores("region_features", task.student(inputs), inputs, inputs.hidden_regions)
    error = (guessed - seen["regions"][hidden]).square().mean(dim=1)
    torch.testing.assert_close(found["regions"][0], error[: int(hidden[0].sum())].mean())
    scores = task.student.scores("matching", task.student(fusion_inputs(seen, "matched")))
    torch.testing.assert_close(found["matching"], cross_entropy(scores, own.long(), reduction="none"))
    with pytest.raises(UserError, match=r"`task\.weights\.region_classes`: .* cells of its grid have no classes"):
        FusionPretraining(student(), weights={"region_classes": 1})


def test_pretraining_in_micro_batches(tmp_path: Path) -> None:
    task = FusionPretraining(student(heads={}), options={"reads": "rationales"})
    batch = batch_of(task, vcr(tmp_path))
    found = []
    for micro in (None, 2):
        task.zero_grad()
        terms = backward(task, batch, Ranks.current(), micro)
        given = [each.parameter.grad for each in task.trainable() if each.name.startswith("student.clip.")]
        found.append([*terms.values(), *(value for value in given if value is not None)])
        assert len(found[-1]) == len(given) + 3
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_another_samples_text_half_of_the_times(tmp_path: Path) -> None:
    items = [
        vcr_item(k, **{**TEXT, "question": [*TEXT["question"][:1], [k % 4], "red"]}, answer_label=1) for k in range(60)
    ]
    mixture = Mixture([(open_source({"format": "vcr", "path": write_vcr(tmp_path, items)}), None)])
    field = OtherTexts(student(), "question", "matched", mixture)
    loader = Loader(mixture, {"matched": field}, batch_size=60, plan=AugmentPlan(), seed=0, shuffle=False)
    first, again = next(iter(loader.epoch(0))), next(iter(loader.epoch(1)))
    assert 18 <= int(first["is_own"].sum()) <= 42 and not torch.equal(first["is_own"], again["is_own"])
    small = Loader(mixture, {"matched": field}, batch_size=6, plan=AugmentPlan(), seed=0, shuffle=False)
    part = next(iter(small.epoch(0)))
    assert torch.equal(part["is_own"], first["is_own"][:6])
    assert torch.equal(part["matched/ids"], first["matched/ids"][:6, : part["matched/ids"].shape[1]])
