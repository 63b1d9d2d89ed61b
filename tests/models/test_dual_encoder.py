"""DualEncoder: pixel handling, precision, and the switches that must not change a result."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tiny_models import TEXTS, encoder, picture, pixels_of

from clipdistill.data.transforms import ImageView, apply
from clipdistill.models import create_model


def test_bytes_and_fractions_give_the_same_embedding():
    model = encoder("clip", double=True)
    pixels = pixels_of(model)
    same = model.encode_image(pixels.double() / 255)
    torch.testing.assert_close(model.encode_image(pixels), same, rtol=0, atol=1e-12)


def test_pixels_are_normalised_with_the_models_own_statistics():
    model = encoder("clip", double=True)
    pixels = torch.full((1, 3, 32, 32), 51, dtype=torch.uint8)  # 0.2
    expected = [(0.2 - m) / s for m, s in zip(model.preprocess["mean"], model.preprocess["std"], strict=True)]
    assert model.normalise_pixels(pixels)[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-12)


def test_statistics_survive_a_change_of_precision():
    model = encoder("clip")
    exact = model.normalise_pixels(pixels_of(model))
    there_and_back = model.to(torch.bfloat16).float().normalise_pixels(pixels_of(model))
    assert torch.equal(exact, there_and_back)


def test_statistics_first_used_in_inference_mode_still_let_gradients_through():
    model = encoder("clip")
    pixels = torch.rand(1, 3, 32, 32, requires_grad=True)
    with torch.inference_mode():
        model.encode_image(pixels.detach())
    model.encode_image(pixels).sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_state_dict_is_the_open_clip_models_under_clip():
    model = encoder("clip")
    assert set(model.state_dict()) == {f"clip.{key}" for key in model.clip.state_dict()}


def test_loaders_view_has_the_size_the_tower_wants():
    model = encoder("timm")
    pixels = apply(picture(90, 70), None, ImageView.from_preprocess(model.preprocess))
    assert model.encode_image(pixels[None]).shape == (1, 24)


@pytest.mark.parametrize("kind", ["clip", "custom", "timm"])
def test_checkpointing_changes_no_gradient(kind):
    gradients = []
    for switch in (False, True):
        model = encoder(kind, double=True)
        model.set_grad_checkpointing(switch)
        image, text = model(pixels_of(model), model.tokenizer(TEXTS[:2]))
        (image * text).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("kind", ["clip", "resnet", "timm"])
def test_channels_last_changes_no_embedding(kind):
    model = encoder(kind, double=True)
    pixels = pixels_of(model)
    before = model.encode_image(pixels)
    model.use_channels_last()
    assert model.normalise_pixels(pixels).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model.encode_image(pixels), before, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["clip", "siglip", "resnet"])
def test_bf16_autocast_stays_near_full_precision(kind):
    model = encoder(kind)
    pixels, tokens = pixels_of(model), model.tokenizer(TEXTS)
    exact = model(pixels, tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(pixels, tokens)
    for one, other in zip(exact, rough, strict=True):
        assert torch.nn.functional.cosine_similarity(one, other.float()).min() > 0.99


def test_gradients_reach_both_towers_and_the_scales():
    model = encoder("bias")
    image, text = model(pixels_of(model), model.tokenizer(TEXTS[:2]))
    ((image @ text.T) * model.logit_scale + model.logit_bias).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_seed_decides_the_weights_and_leaves_torchs_state_alone():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one, same, other = (create_model("petri-tiny-student", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [model.clip.visual.proj for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_copies_and_pickles_work_alike():
    """EMA copies the student; loader workers pickle its tokenizer."""
    model = encoder("clip")
    pixels = pixels_of(model)
    expected = model.encode_image(pixels)
    assert torch.equal(copy.deepcopy(model).encode_image(pixels), expected)
    tokenizer = pickle.loads(pickle.dumps(model.tokenizer))
    assert torch.equal(tokenizer(TEXTS), model.tokenizer(TEXTS)) and tokenizer.key == model.tokenizer_key
