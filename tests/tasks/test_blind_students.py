"""A language model as the student of every task: no regions, and another picture changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from question_files import vcr_item, write_vcr
from tiny_fusion import tiny_fusion

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.evaluate import evaluate_suite
from clipdistill.models import create_model
from clipdistill.models.fusion.clip_adapter import create_adapter
from clipdistill.tasks.fusion_pretraining import FusionPretraining
from clipdistill.tasks.vcr import VCR

TEXT = {
    "question": ["is", [2], "red", "?"],
    "answer_choices": [["yes", [0]], ["no"], ["a", "circle"], ["no", [3], "."]],
    "rationale_choices": [["it", "is"], ["blue"], ["green"], [[2], "is"]],
}


def vcr(folder: Path, **changes: Any) -> Mixture:
    items = [vcr_item(k, **TEXT, answer_label=k % 4, rationale_label=(k + 1) % 4, **changes) for k in range(4)]
    return Mixture([(open_source({"format": "vcr", "path": write_vcr(folder, items)}), None)])


def student(**changes: Any) -> Any:
    return tiny_fusion("bert", positions=40, dropout=0.0, attention_dropout=0.0, **changes)


def batch_of(task: Any, mixture: Mixture) -> dict[str, Any]:
    torch.manual_seed(0)
    task.prepare(mixture)
    task.double().eval()
    loader = Loader(mixture, task.fields(mixture), batch_size=4, plan=AugmentPlan(), seed=0, shuffle=False)
    return next(iter(loader.epoch(0)))


def test_vcr_learns_from_texts_alone_and_micro_batches_change_nothing(tmp_path: Path) -> None:
    mixture = vcr(tmp_path)
    for picture in tmp_path.rglob("*.png"):
        picture.write_bytes(b"no picture")  # nor is it opened
    task = VCR(student(heads={}))
    batch = batch_of(task, mixture)
    assert task.student.config.heads == {"vcr": 2}
    assert not any(name.startswith(("image", "region", "object")) for name in batch)
    found = []
    for micro in (None, 1):
        task.zero_grad()
        terms = backward(task, batch, Ranks.current(), micro)
        found.append([*terms.values(), *(p.grad for p in task.parameters() if p.grad is not None)])
    assert len(found[0]) == 1 + sum(1 for p in task.parameters())
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_words_are_shifted_and_regions_refused(tmp_path: Path) -> None:
    spec = {"adversarial": {"modality": "words", "steps": 2}}
    task = VCR(student(), options=spec)
    batch = batch_of(task, vcr(tmp_path))
    losses = task.sample_losses(task.encode(batch), batch)
    assert losses["task"].shape == (4,) and (losses["divergence"] > 0).all()
    for modality in ("both", "regions", "alternate"):
        with pytest.raises(UserError, match=r"`task\.adversarial\.modality`: .* sees no regions to shift; .* words$"):
            VCR(student(), options={"adversarial": {"modality": modality}})
    adapter = create_adapter("clip-mlp-1-concat", create_model("petri-tiny-student", seed=0), 0)
    with pytest.raises(UserError, match=r"has no words of its own to shift; set it to regions$"):
        VCR(adapter, options={"adversarial": {}})


def test_pretraining_guesses_words_alone(tmp_path: Path) -> None:
    for weights in (None, {"words": 1, "matching": 1}):
        with pytest.raises(UserError, match=r"sees no picture; set `task\.weights` to \{words: 1\}$"):
            FusionPretraining(student(), weights=weights)
    task = FusionPretraining(student(heads={}), weights={"words": 1}, options={"reads": "rationales"})
    batch = batch_of(task, vcr(tmp_path))
    assert set(batch) >= {"masked/ids", "masked/wanted"} and "regions" not in batch and "plain/ids" not in batch
    assert task.encode(batch)["words"].shape == (4,) and task.sample_weights({}, batch).keys() == {"words"}


def test_another_picture_changes_no_answer(tmp_path: Path) -> None:
    model = tiny_fusion("bert", positions=64).float()
    items = [vcr_item(k, **TEXT, answer_label=k % 4, rationale_label=(k + 1) % 4) for k in range(4)]
    found = []
    for number in range(2):
        folder = tmp_path / str(number)
        write_vcr(folder, items, "val.jsonl")
        (picture,) = folder.rglob("*.png")
        if number:
            picture.write_bytes(b"another")
        (result,) = evaluate_suite(model, "vcr", folder, batch_size=4, options={"predictions": folder / "saved.npz"})
        assert result.n == 4
        found.append((result.metrics, (folder / "saved.npz").read_bytes()))
    assert found[0] == found[1]
