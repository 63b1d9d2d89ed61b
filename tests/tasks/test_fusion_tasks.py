"""VCR, SNLI-VE and VQA as tasks, by their definitions; labels that aren't known; VILLA against its reference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from question_files import annotation, pair, question, vcr_item, write_snli_ve, write_vcr, write_vqa
from tiny_fusion import ARCHITECTURES, tiny_fusion
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.engine.micro_batches import split
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.objectives.adversarial import adversarial_backward
from clipdistill.stores.region_cache import cache_regions
from clipdistill.tasks.fusion import FusionTask
from clipdistill.tasks.snli_ve import SNLIVE
from clipdistill.tasks.vcr import VCR
from clipdistill.tasks.vqa import VQA

TEXT = {
    "question": ["is", [2], "red", "?"],
    "answer_choices": [["yes", [0]], ["no"], ["a", "circle"], ["no", [3], "."]],
    "rationale_choices": [["it", "is"], ["blue"], ["green"], [[2], "is"]],
}


@pytest.fixture(scope="module")
def clip() -> Any:
    return create_model("petri-tiny-student", seed=0).eval()


def with_regions(spec: dict[str, Any], folder: Path, clip: Any, provider: Any = None) -> Mixture:
    mixture = Mixture([(open_source(spec), None)])
    mixture.regions = cache_regions(clip, mixture, provider, folder / "regions")
    return mixture


def vcr(folder: Path, clip: Any, *labels: tuple[int, int | None]) -> Mixture:
    items = []
    for number, (answer, rationale) in enumerate(labels):
        item = vcr_item(number, **TEXT, answer_label=answer, rationale_label=rationale)
        items.append({key: value for key, value in item.items() if value is not None})
    return with_regions({"format": "vcr", "path": write_vcr(folder, items)}, folder, clip)


def student(architecture: str, clip: Any, **changes: Any) -> Any:
    quiet = {"dropout": 0.0, "attention_dropout": 0.0}
    sizes = {"region_width": clip.embed_dim, "positions": 40, "heads": {}, **quiet}
    return tiny_fusion(architecture, **{**sizes, **changes})


def made(kind: type[FusionTask], model: Any, mixture: Mixture, **options: Any) -> tuple[FusionTask, dict[str, Any]]:
    task = kind(model, options=options)
    torch.manual_seed(0)
    task.prepare(mixture)
    size = len(mixture)
    loader = Loader(mixture, task.fields(mixture), batch_size=size, plan=AugmentPlan(), seed=0, shuffle=False)
    batch = next(iter(loader.epoch(0)))
    for name in ("regions", "region_boxes"):
        batch[name] = batch[name].double()
    return task.double().eval(), batch


def losses(task: FusionTask, batch: dict[str, Any]) -> dict[str, Tensor]:
    return task.sample_losses(task.encode(batch), batch)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_vcr_by_definition(architecture: str, clip: Any, tmp_path: Path) -> None:
    mixture = vcr(tmp_path, clip, (1, 2), (3, 0))
    task, batch = made(VCR, student(architecture, clip), mixture)
    outputs = {"uniter": 2, "vl_bert": 1}[architecture]
    assert dict(task.student.config.heads) == {"vcr": outputs}
    expected = torch.zeros(2, 2, dtype=torch.float64)
    for place, (reads, right) in enumerate({"answers": (1, 3), "rationales": (2, 0)}.items()):
        inputs = fusion_inputs(batch, reads)
        scores = task.student.scores("vcr", task.student(inputs)).view(2, 4, outputs)
        logit = scores[..., 1] - scores[..., 0] if outputs == 2 else scores[..., 0]
        wanted = torch.eye(4, dtype=torch.float64)[list(right)]
        expected[place] = bce(logit, wanted, reduction="none").mean(dim=1)
    torch.testing.assert_close(losses(task, batch)["task"], expected.mean(dim=0))
    assert task.sample_weights({}, batch)["task"].tolist() == [2, 2]
    one, batch = made(VCR, task.student, mixture, mode="qa2r", loss="cross_entropy")
    ranked = one.student.option_scores(one.student.scores("vcr", one.student(fusion_inputs(batch, "rationales"))))
    wanted = cross_entropy(ranked.view(2, 4), torch.tensor([2, 0]), reduction="none")
    torch.testing.assert_close(losses(one, batch)["task"], wanted)


def test_what_is_not_known_weighs_nothing(clip: Any, tmp_path: Path) -> None:
    task, batch = made(VCR, student("uniter", clip), vcr(tmp_path, clip, (1, None), (3, 0)))
    found = losses(task, batch)["task"]
    assert task.sample_weights({}, batch)["task"].tolist() == [1, 2]
    answers, _ = made(VCR, task.student, vcr(tmp_path / "again", clip, (1, 0), (3, 0)), mode="q2a")
    torch.testing.assert_close(found[0], losses(answers, batch)["task"][0])
    rationales, _ = made(VCR, task.student, vcr(tmp_path / "more", clip, (1, 0), (3, 0)), mode="qa2r")
    both = losses(answers, batch)["task"][1] + losses(rationales, batch)["task"][1]
    torch.testing.assert_close(found[1], both / 2)
    unlabelled = Mixture([(open_source({"format": "vcr", "path": str(tmp_path), "unlabelled": True}), None)])
    with pytest.raises(UserError, match="`data.train`: 'vcr_train_unlabelled/train-0' has no label"):
        task.prepare(unlabelled)


@pytest.mark.parametrize("loss", ["cross_entropy", "sigmoid"])
def test_snli_ve_by_definition(loss: str, clip: Any, tmp_path: Path) -> None:
    lines = [pair(1), pair(2, "contradiction"), pair(3, "neutral")]
    spec = {"format": "snli_ve", "path": write_snli_ve(tmp_path, lines)}
    task, batch = made(SNLIVE, student("vl_bert", clip), with_regions(spec, tmp_path, clip, Whole()), loss=loss)
    logits, label = task.encode(batch)["logits/hypothesis"], torch.tensor([0, 2, 1])
    assert logits.shape == (3, 3)
    if loss == "cross_entropy":
        expected = cross_entropy(logits, label, reduction="none")
    else:
        expected = bce(logits, torch.eye(3, dtype=torch.float64)[label], reduction="none").sum(1)
    torch.testing.assert_close(losses(task, batch)["task"], expected)


class Whole:
    name, key = "whole", "whole-1"

    def find(self, images: Any) -> list[Any]:
        return [SimpleNamespace(boxes=[], scores=[], labels=()) for _ in images]


def vqa(folder: Path, clip: Any) -> Mixture:
    given = [annotation(1, ["red"] * 7 + ["blue"] * 3), annotation(2, ["blue"] * 10)]
    root = write_vqa(folder, [question(1, "is it red?"), question(2, "what colour?")], given)
    (folder / "answers.txt").write_text("red\nblue\nyes\n")
    spec = {"format": "vqa_v2", "path": str(root), "answers": str(folder / "answers.txt")}
    return with_regions(spec, folder, clip, Whole())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_vqa_by_definition(architecture: str, clip: Any, tmp_path: Path) -> None:
    task, batch = made(VQA, student(architecture, clip), vqa(tmp_path, clip))
    logits = task.encode(batch)["logits/question"]
    # Three of ten people give 0.9 by the official accuracy, four or more 1.
    target = torch.tensor([[1, 0.9, 0], [0, 1, 0]], dtype=torch.float64)
    expected = -(target * logits.sigmoid().log() + (1 - target) * (-logits).sigmoid().log()).sum(1)
    torch.testing.assert_close(losses(task, batch)["task"], expected, rtol=1e-6, atol=1e-6)
    assert task.sample_weights({}, batch)["task"].tolist() == [1, 1]


def test_a_head_that_fits_stays_and_others_are_replaced(clip: Any, tmp_path: Path) -> None:
    mixture = vqa(tmp_path, clip)
    model = student("uniter", clip, heads={"vqa": 5})
    task, _ = made(VQA, model, mixture)
    assert model.config.heads == {"vqa": 3}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(9)
    task.prepare(mixture)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    scaled = VQA(model, options={"head_lr": 10})
    rates = {each.name: each.lr_scale for each in scaled.trainable()}
    assert rates["student.heads.vqa.out.weight"] == 10 and rates["student.pooler.dense.weight"] == 1


@pytest.mark.parametrize(
    ("architecture", "modality"), [("uniter", "both"), ("uniter", "alternate"), ("vl_bert", "words")]
)
def test_adversarial_training_has_the_gradient_of_its_reference(
    architecture: str, modality: str, clip: Any, tmp_path: Path
) -> None:
    mixture = vcr(tmp_path, clip, (1, 2), (3, 0))
    spec = {"steps": 3, "lr": 0.3, "weight": 1.5, "modality": modality}
    task, batch = made(VCR, student(architecture, clip), mixture, mode="q2a", adversarial=spec)
    assert task.weights == {"task": 1.0, "divergence": 1.5}
    terms = backward(task, batch, Ranks.current())
    found = {name: p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}
    task.zero_grad()

    model, inputs = task.student, fusion_inputs(batch, "answers")

    def score(shifts: dict[str, Tensor]) -> Tensor:
        out = model(inputs, word_shift=shifts.get("words"), region_shift=shifts.get("regions"))
        logits = model.scores("vcr", out)
        return logits if logits.shape[1] == 2 else torch.cat([logits * 0, logits], dim=1)

    right = torch.eye(4).long()[[1, 3]].flatten()
    zeros = {"words": torch.zeros(8, inputs.ids.shape[1], 16).double(), "regions": torch.zeros_like(inputs.features)}
    given = {"words": {"words": zeros["words"]}}.get(modality, zeros)
    reference = adversarial_backward(
        score, lambda logits: cross_entropy(logits, right, reduction="none"), given,
        {"words": 0.3, "regions": 0.3}, steps=3, kl_weight=1.5, alternate=modality == "alternate",
    )  # fmt: skip
    for name, value in zip(("task", "divergence"), reference, strict=True):
        torch.testing.assert_close(terms[name], value.mean())
    assert terms["divergence"] > 0
    for name, parameter in task.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, msg=name)


@pytest.mark.parametrize("kind", [VCR, VQA])
def test_micro_batches_change_nothing(kind: type[FusionTask], clip: Any, tmp_path: Path) -> None:
    mixture = vcr(tmp_path, clip, (1, None), (3, 0)) if kind is VCR else vqa(tmp_path, clip)
    task, batch = made(kind, student("uniter", clip), mixture, adversarial={"steps": 2, "lr": 0.1})
    found = []
    for micro in (None, 1):
        task.zero_grad()
        terms = backward(task, batch, Ranks.current(), micro)
        found.append([*terms.values(), *(p.grad for p in task.parameters() if p.grad is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert len(split(batch, 1)) == 2


def test_data_and_options_that_do_not_fit(clip: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its classes are none that its sources share, not entailment"):
        SNLIVE.outputs(SNLIVE(student("uniter", clip)), vcr(tmp_path, clip, (1, 2)))
    with pytest.raises(UserError, match="adversarial"):
        VCR(student("uniter", clip), options={"adversarial": {"step": 3}})
