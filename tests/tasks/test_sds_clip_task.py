"""SDS-CLIP's task: what trains, what the UNet sees, any contrastive batch. Training a diffusion model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.tasks.base import Batch, Features, Task
from clipdistill.tasks.diffusion import DiffusionTraining
from clipdistill.tasks.sds_clip import SDSCLIP
from tests.models.tiny_diffusion import tiny_diffusion
from tests.models.tiny_models import encoder, pixels_of

ALONE = Ranks(0, 1, torch.device("cpu"))
TEXTS = ["a red circle", "a blue square", "a green star left of a red circle", "two circles"]


def build(kind: str = "clip", weights: Any = None, **options: Any) -> SDSCLIP:
    teacher = tiny_diffusion().double()
    torch.manual_seed(1)
    return SDSCLIP(encoder(kind, double=True), [teacher], weights, options).double().train()


def batch_for(task: Any, count: int = 4) -> dict[str, torch.Tensor]:
    texts = (TEXTS * count)[:count]
    batch = {"image/student": pixels_of(task.student, count), "text/student": task.student.tokenizer(texts)}
    for teacher in task.teachers:
        batch["text/teacher0"] = teacher.tokenizer(texts)
        generator = torch.Generator().manual_seed(5)
        batch["image/teacher0"] = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return batch


def step(task: Any, micro: int | None = None, seed: int = 0, count: int = 4) -> tuple[dict[str, float], dict]:
    task.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    terms = backward(task, batch_for(task, count), ALONE, micro)
    grads = {name: p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}
    return {name: float(value) for name, value in terms.items()}, grads


@pytest.mark.parametrize("kind", ["clip", "resnet"])
def test_gradient_reaches_norms_and_the_map_and_nothing_else(kind: str) -> None:
    task = build(kind)
    _, grads = step(task)
    norms = {
        f"student.{name}.{part}"
        for name, module in task.student.named_modules()
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d)
        for part, _ in module.named_parameters(recurse=False)
    }
    assert set(grads) == norms | {"h_w.weight", "h_w.bias"} == {item.name for item in task.trainable()}
    assert all(p.grad is None and not p.requires_grad for p in task.teachers[0].parameters())
    assert not any(name.startswith("teacher") for name, _ in task.named_parameters())


def test_sds_alone_reaches_the_image_tower_through_the_unet() -> None:
    _, grads = step(build(weights={"sds": 1.0}))
    assert float(grads["h_w.weight"].abs().max()) > 0
    assert any("visual" in name and float(grad.abs().max()) > 0 for name, grad in grads.items())
    assert not any("visual" not in name and "student" in name for name in grads)


def test_everything_trains_when_asked_and_the_unet_still_does_not() -> None:
    task = build(train="all")
    step(task)
    assert task.student.clip.visual.conv1.weight.grad is not None
    assert all(p.grad is None for p in task.teachers[0].parameters())


def test_any_micro_batch_gives_the_gradient_of_the_whole_batch() -> None:
    task = build(weights={"task": 1, "sds": 0.01, "features": 0.1})
    terms, expected = step(task, None, count=8)
    for micro in (4, 2):
        found_terms, found = step(task, micro, count=8)
        assert found_terms == pytest.approx(terms, rel=1e-9)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-7, atol=1e-10)


def test_noise_differs_from_step_to_step_also_with_replay() -> None:
    task = build(weights={"sds": 1.0})
    torch.manual_seed(0)
    batch = batch_for(task)
    first, second = (float(backward(task, batch, ALONE, 2)["sds"]) for _ in range(2))
    assert first != second


def sds_of(task: Task, features: Features, targets: Features, batch: Batch) -> float:
    """The term as the engine reduces it."""
    known = {**features, **targets}
    values = task.sample_losses(known, batch)["sds"]
    weight = task.sample_weights(known, batch).get("sds", torch.ones(len(values)))
    return float((weight * values).sum() / weight.sum())


def test_a_share_of_the_micro_batch_is_an_unbiased_estimate() -> None:
    task = build(weights={"sds": 1.0}, sds_fraction=0.5)
    seen = []
    task.teachers[0].predict_noise = lambda x, t, c: seen.append(len(x)) or 3 * c.mean((1, 2)).view(-1, 1, 1, 1) * x  # type: ignore[method-assign]
    batch = batch_for(task)
    features = {name: value.detach() for name, value in task.encode(batch).items()}
    task.h_w.requires_grad_(False)
    torch.manual_seed(0)
    shares, wholes = [], []
    for _ in range(400):
        targets = task.targets(batch)
        shares.append(sds_of(task, features, targets, batch))
        wholes.append(sds_of(task, features, {"sds_seed": targets["sds_seed"]}, batch))
    assert set(seen) == {2, 4}
    gap = torch.tensor(shares) - torch.tensor(wholes)
    assert abs(float(gap.mean())) < 3 * float(gap.std()) / 20 and float(gap.std()) > 0


def test_batch_norms_keep_their_statistics() -> None:
    task = build("resnet")
    before = {name: value.clone() for name, value in task.student.named_buffers() if "running" in name}
    step(task)
    assert before and all(torch.equal(value, dict(task.student.named_buffers())[n]) for n, value in before.items())


def test_the_maps_start_and_shape() -> None:
    task = build(bias=False, init_scale=0.7, embedding="normalised")
    assert task.h_w.bias is None and task.h_w.weight.shape == (3 * 8 * 8, task.student.embed_dim)
    unit = nn.functional.normalize(torch.randn(50, task.student.embed_dim).double(), dim=-1)
    assert task.h_w(unit).std().item() == pytest.approx(0.7, rel=0.1)
    task = build(embedding="normalised", weights={"sds": 1.0})
    batch = batch_for(task)
    features = {**task.encode(batch), **task.targets(batch)}
    same = task.sample_losses({**features, "image": 5 * features["image"]}, batch)["sds"]
    torch.testing.assert_close(same, task.sample_losses(features, batch)["sds"])


def test_without_a_teacher_it_is_its_own_control_on_the_same_parameters() -> None:
    task = SDSCLIP(encoder("clip"), [], {"task": 1.0})
    assert {item.name for item in task.trainable()} == {
        item.name for item in build().trainable() if not item.name.startswith("h_w")
    }
    with pytest.raises(UserError, match=r"`task.weights.sds` needs a diffusion model"):
        SDSCLIP(encoder("clip"))
    with pytest.raises(UserError, match=r"t_range"):
        build(t_range=(0.9, 0.1))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_diffusion_model_learns_to_denoise_with_the_loop_as_it_is(prediction: str) -> None:
    torch.manual_seed(0)
    model = tiny_diffusion(prediction_type=prediction)
    task = DiffusionTraining(model, options={"weighting": "min_snr"}).train()
    pixels = torch.zeros(16, 3, 8, 8, dtype=torch.uint8)
    pixels[::2] = 255
    batch = {"image/student": pixels, "text/student": model.tokenizer(["white", "black"] * 8)}
    optimizer = torch.optim.Adam([item.parameter for item in task.trainable()], 3e-3)
    losses = []
    for _ in range(25):
        losses.append(float(backward(task, batch, ALONE, 8)["denoising"]))
        optimizer.step()
        optimizer.zero_grad()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert any(p is q.parameter for q in task.trainable() for p in model.text_encoder.parameters())


def test_diffusion_training_wants_a_diffusion_model_and_no_teacher() -> None:
    with pytest.raises(UserError, match="`student.model`: diffusion trains a denoiser, and '.*' is a dual_encoder"):
        DiffusionTraining.check_start(encoder("clip"))
    with pytest.raises(UserError, match="diffusion takes no teacher"):
        DiffusionTraining(tiny_diffusion(), [tiny_diffusion()])


def test_caption_dropout_shows_the_empty_caption() -> None:
    model = tiny_diffusion()
    task = DiffusionTraining(model, options={"caption_dropout": 1.0})
    seen: list[torch.Tensor] = []
    model.encode_tokens = lambda tokens: seen.append(tokens) or model._encode_tokens(tokens)  # type: ignore[method-assign]
    batch = {"image/student": torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "text/student": model.tokenizer(TEXTS[:2])}
    task.sample_losses(task.targets(batch), batch)
    assert torch.equal(seen[0], model.tokenizer(["", ""]))


def test_the_map_learns_at_its_own_rate() -> None:
    rates = {item.name: item.lr_scale for item in build(map_lr_scale=10.0).trainable()}
    assert rates.pop("h_w.weight") == rates.pop("h_w.bias") == 10.0
    assert rates and set(rates.values()) == {1.0}
