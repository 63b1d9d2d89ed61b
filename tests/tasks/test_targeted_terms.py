"""CLIP-TD's terms in tasks of fusion students, by their definitions; what isn't labelled; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from question_files import annotation, pair, question, vcr_item, write_snli_ve, write_vcr, write_vqa
from test_fusion_tasks import TEXT, student, with_regions
from tiny_fusion import ARCHITECTURES
from torch import Tensor
from torch.nn.functional import normalize

from clipdistill.data import AugmentPlan, Loader, Mixture
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.evaluate.k_means import k_means
from clipdistill.models import create_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.stores.question_cache import cache_questions
from clipdistill.stores.question_targets import QuestionSettings
from clipdistill.tasks.fusion_pretraining import FusionPretraining
from clipdistill.tasks.snli_ve import SNLIVE
from clipdistill.tasks.teacher import StoredQuestions
from clipdistill.tasks.vcr import VCR
from clipdistill.tasks.vqa import VQA

ALL = {"task": 1.0, "vision": 0.05, "language": 0.05, "selected": 0.05, "choices": 0.1}


@pytest.fixture(scope="module")
def clip() -> Any:
    return create_model("petri-tiny-student", seed=0).eval()


@pytest.fixture(scope="module")
def other() -> Any:
    """The teacher: another network than the one that gives regions, of another width."""
    return create_model("petri-student", seed=1).eval()


def questions(folder: Path, clip: Any, *labels: int | None) -> Mixture:
    items = [vcr_item(n, **TEXT, answer_label=one, rationale_label=one) for n, one in enumerate(labels)]
    for n, item in enumerate(items):
        item["question"] = ["is", [n % 3], "red", "and", "square", "?"]
    clean = [{k: v for k, v in item.items() if v is not None} for item in items]
    return with_regions({"format": "vcr", "path": write_vcr(folder, clean)}, folder, clip)


def taught(other: Any, data: Mixture, folder: Path, reads: tuple[str, ...], answers: Any = (), **more: Any) -> Any:
    settings = QuestionSettings(reads, template="it is {answer}" if answers else "", **more)
    return StoredQuestions(cache_questions(other, data, settings, folder / "taught", fingerprint="f", answers=answers))


def made(kind: Any, model: Any, data: Mixture, teacher: Any, weights: Any = ALL, **options: Any) -> Any:
    task = kind(model, [teacher], weights, options)
    torch.manual_seed(0)
    task.prepare(data)
    loader = Loader(data, task.fields(data), batch_size=len(data), plan=AugmentPlan(), seed=0, shuffle=False)
    batch = {
        k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v
        for k, v in next(iter(loader.epoch(0))).items()
    }
    return task.double().eval(), batch


def losses(task: Any, batch: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = task.sample_losses(task.encode(batch), batch)
    return found


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_terms_by_their_definitions(architecture: str, reduction: str, clip: Any, other: Any, tmp_path: Path) -> None:
    data = questions(tmp_path, clip, 0, 1, 2)
    teacher = taught(other, data, tmp_path, ("answers", "rationales"))
    task, batch = made(VCR, student(architecture, clip), data, teacher, mode="q2a", distil={"reduction": reduction})
    found, store, maps = losses(task, batch), teacher.store, task.targeted.maps
    output = task.student(fusion_inputs(batch, "answers"))
    for row in range(3):
        image = torch.from_numpy(store.image([row])[0]).double()
        texts = torch.from_numpy(store.texts(row, "answers")).double()
        words, _, there = (torch.from_numpy(one) for one in store.words(row, "answers", 2))
        pairs = slice(4 * row, 4 * row + 4)
        size = 1 if reduction == "sum" else other.embed_dim
        vision = (maps["image"](output.image[pairs]) - image).abs().sum(1) / size
        language = (maps["text"](output.cls[pairs]) - texts).abs().sum(1) / size
        torch.testing.assert_close(found["vision"][row], vision.mean())
        torch.testing.assert_close(found["language"][row], language.mean())
        each = []
        for option in range(4):
            apart = [
                (
                    maps["words"](output.text[4 * row + option][batch["taught/answers/tokens"][row, option, m]].mean(0))
                    - words[option, m]
                )
                .abs()
                .sum()
                / size
                for m in range(2)
                if there[option, m]
            ]
            each.append(torch.stack(apart).mean() if apart else torch.zeros((), dtype=torch.float64))
        torch.testing.assert_close(found["selected"][row], torch.stack(each).mean())
        cosines = normalize(texts, dim=1) @ normalize(image, dim=0)
        p = (other.logit_scale.item() * cosines).softmax(0)
        q = task.choice_scores(task.encode(batch)["logits/answers"])[row].log_softmax(0)
        torch.testing.assert_close(found["choices"][row], (p * (p.log() - q)).sum())


def test_without_gate_and_words_it_is_the_naive_loss(clip: Any, other: Any, tmp_path: Path) -> None:
    data = questions(tmp_path, clip, 0, 1)
    teacher = taught(other, data, tmp_path, ("answers", "rationales"))
    naive = {"task": 1.0, "vision": 0.05, "language": 0.05}
    task, batch = made(VCR, student("uniter", clip), data, teacher, naive)
    found = losses(task, batch)
    assert found.keys() == naive.keys()
    full, again = made(VCR, student("uniter", clip), data, teacher, ALL)
    full.load_state_dict(task.state_dict(), strict=False)
    for term, value in losses(full, again).items():
        if term in naive:
            torch.testing.assert_close(value, found[term])


def test_the_gate_listens_to_a_surer_teacher_alone(clip: Any, other: Any, tmp_path: Path) -> None:
    data = questions(tmp_path, clip, 0, 1)
    teacher = taught(other, data, tmp_path, ("answers", "rationales"))
    task, batch = made(VCR, student("uniter", clip), data, teacher, mode="q2a")
    plain, features = losses(task, batch), task.encode(batch)
    own = task.choice_scores(features["logits/answers"]).softmax(1).amax(1)
    theirs = task.targeted.logits("answers", batch).softmax(1).amax(1)
    closed, opened = (own / theirs).min() * 0.999, (own / theirs).max() * 1.001
    for temperature, weight in ((closed.item(), 0.0), (opened.item(), 1.0)):
        gated, _ = made(
            VCR, student("uniter", clip), data, teacher, mode="q2a", distil={"confidence": {"temperature": temperature}}
        )
        gated.load_state_dict(task.state_dict())
        for term, value in losses(gated, batch).items():
            torch.testing.assert_close(value, plain[term] * (weight if term != "task" else 1.0))


def test_questions_without_labels_are_taught_all_the_same(clip: Any, other: Any, tmp_path: Path) -> None:
    data = questions(tmp_path, clip, 1, None, None)
    teacher = taught(other, data, tmp_path, ("answers", "rationales"))
    task, batch = made(VCR, student("uniter", clip), data, teacher)
    weights = task.sample_weights(task.encode(batch), batch)
    assert weights.keys() == {"task"} and weights["task"].tolist() == [2.0, 0.0, 0.0]
    found = losses(task, batch)
    assert all((found[term] > 0).all() for term in ("vision", "language", "selected", "choices"))
    right, _ = made(VCR, student("uniter", clip), data, teacher, distil={"pairs": "right"})
    right.load_state_dict(task.state_dict())
    only = losses(right, batch)
    assert only["language"][0] > 0 and only["language"][1:].tolist() == [0.0, 0.0]


def test_micro_batches_change_nothing(clip: Any, other: Any, tmp_path: Path) -> None:
    data = questions(tmp_path, clip, 0, 1, 2, 3)
    teacher = taught(other, data, tmp_path, ("answers", "rationales"))
    task, batch = made(VCR, student("vl_bert", clip), data, teacher, distil={"confidence": {}, "targets": "unit_rms"})
    gradients = []
    for micro in (None, 1, 2):
        task.zero_grad(set_to_none=True)
        terms = backward(task, batch, Ranks(0, 1, torch.device("cpu")), micro)
        gradients.append((terms, {k: v.grad.clone() for k, v in task.named_parameters() if v.grad is not None}))
    assert {"targeted.maps.image.weight", "targeted.maps.text.weight"} <= gradients[0][1].keys()
    for terms, each in gradients[1:]:
        torch.testing.assert_close(terms, gradients[0][0])
        torch.testing.assert_close(each, gradients[0][1])


def test_answers_of_a_vocabulary_and_classes_of_entailment(clip: Any, other: Any, tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_text("yes\nno\n")
    asked = [question(n, f"is it {word}?") for n, word in enumerate(("red", "blue"))]
    write_vqa(tmp_path, asked, [annotation(n, ["yes"] * 10) for n in range(2)])
    data = with_regions(
        {"format": "vqa_v2", "path": str(tmp_path), "answers": str(tmp_path / "answers.txt")}, tmp_path, clip, _whole()
    )
    teacher = taught(other, data, tmp_path, ("question",), ("yes", "no"))
    task, batch = made(VQA, student("uniter", clip), data, teacher)
    torch.testing.assert_close(
        task.targeted.logits("question", batch).float(), torch.from_numpy(teacher.store.logits([0, 1]))
    )
    assert losses(task, batch)["choices"].shape == (2,)

    folder = tmp_path / "ve"
    labels = ("entailment", "neutral", "contradiction", "entailment", "neutral")
    texts = ("a red star", "two blue rings", "nothing at all", "a large moon", "the sky")
    pairs = [pair(n, label, sentence2=text) for n, (label, text) in enumerate(zip(labels, texts, strict=True))]
    data = with_regions({"format": "snli_ve", "path": write_snli_ve(folder, pairs)}, folder, clip, _whole())
    teacher = taught(other, data, folder, ("hypothesis",))
    task, batch = made(SNLIVE, student("uniter", clip), data, teacher)
    image, text = (
        torch.from_numpy(one).double()
        for one in (teacher.store.image(range(5)), teacher.store.take("hypothesis_text", range(5)))
    )
    near = (normalize(image, dim=1) * normalize(text, dim=1)).sum(1)
    _, centres = k_means(near.float()[:, None], 3)
    ordered = dict(zip(("contradiction", "neutral", "entailment"), centres[:, 0].sort().values.tolist(), strict=True))
    wanted = torch.stack([-other.logit_scale.item() * (near - ordered[name]).abs() for name in data.classes], dim=1)
    torch.testing.assert_close(task.targeted.logits("hypothesis", batch), wanted, rtol=1e-4, atol=1e-4)


def _whole() -> Any:
    from clipdistill.models.regions import open_provider

    return open_provider({"provider": "whole"})


def test_pretraining_is_taught_beside_its_own_terms(clip: Any, other: Any, tmp_path: Path) -> None:
    data = questions(tmp_path, clip, 2, 1)
    teacher = taught(other, data, tmp_path, ("answers", "rationales"))
    weights = {"words": 1.0, "vision": 0.05, "language": 0.05, "selected": 0.05}
    task, batch = made(FusionPretraining, student("uniter", clip), data, teacher, weights, reads="rationales")
    found = losses(task, batch)
    output = task.student(fusion_inputs(batch, "plain"))
    for row, label in enumerate((2, 1)):
        target = torch.from_numpy(teacher.store.texts(row, "rationales", [label])[0]).double()
        torch.testing.assert_close(
            found["language"][row], (task.targeted.maps["text"](output.cls[row]) - target).abs().mean()
        )
    with pytest.raises(UserError, match="ruins a student"):
        made(FusionPretraining, student("uniter", clip), data, teacher, {"language": 0.05}, reads="answers")
    control, _ = made(
        FusionPretraining,
        student("uniter", clip),
        data,
        teacher,
        {"language": 0.05},
        reads="answers",
        distil_alone=True,
    )
    assert control.targeted.terms == ("language",)
    with pytest.raises(UserError, match="pretraining makes no choices"):
        made(FusionPretraining, student("uniter", clip), data, teacher, {"words": 1, "choices": 1}, reads="answers")


def test_terms_and_teachers_belong_together(clip: Any, other: Any, tmp_path: Path) -> None:
    data = questions(tmp_path, clip, 0, 1)
    teacher = taught(other, data, tmp_path, ("answers", "rationales"))
    with pytest.raises(UserError, match=r"`task.weights.language`: needs a teacher"):
        VCR(student("uniter", clip), [], {"task": 1, "language": 0.05})
    with pytest.raises(UserError, match="none of vision, language, selected, choices has a weight"):
        VCR(student("uniter", clip), [teacher], {"task": 1})
    with pytest.raises(UserError, match=r"`task.weights.vision`: .* sees no picture"):
        VCR(student("bert", clip), [teacher], ALL)
    task, _ = made(VCR, student("uniter", clip), data, teacher)
    plain = VCR(student("uniter", clip))
    plain.prepare(data)
    assert task.student.state_dict().keys() == plain.student.state_dict().keys()  # maps are never exported
    assert {each.name for each in task.trainable()} > {"targeted.maps.words.weight", "student.pooler.dense.weight"}
