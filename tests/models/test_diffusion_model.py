"""Diffusion models: the folder, the schedule, v-prediction, frozen weights, captions that are encoded once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from clipdistill.errors import UserError
from clipdistill.models.diffusion import DiffusionTeacher, create_diffusion, load_diffusion
from tests.models.tiny_diffusion import tiny_diffusion, tiny_latent_diffusion

TEXTS = ["a red circle", "a blue square left of a green star"]


def inputs(model: DiffusionTeacher, count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, *model.latent_shape), torch.tensor([10, 700])[:count], model.encode_text(TEXTS[:count])


def test_a_saved_pixel_model_opens_again_bit_for_bit(tmp_path: Path) -> None:
    model = tiny_diffusion().freeze()
    again = load_diffusion(model.save(tmp_path / "model"))
    x, t, condition = inputs(model)
    assert torch.equal(again.predict_noise(x, t, again.encode_text(TEXTS)), model.predict_noise(x, t, condition))
    assert again.tokenizer_key == model.tokenizer_key and again.name == "model" and again.frozen
    assert torch.equal(again.alphas_cumprod, model.alphas_cumprod)


def test_a_saved_latent_model_is_a_stable_diffusion_pipeline(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    model = tiny_latent_diffusion().freeze()
    folder = model.save(tmp_path / "pipeline")
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    prompt, _ = pipeline.encode_prompt(TEXTS[0], "cpu", 1, False)
    assert torch.equal(prompt, model.encode_text(TEXTS[:1]))
    x, t, condition = inputs(model, 1)
    assert torch.equal(
        pipeline.unet(x, t, encoder_hidden_states=condition).sample, model.predict_noise(x, t, condition)
    )
    again = load_diffusion(folder)
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(again.latents(pixels), model.latents(pixels)) and again.preprocess["size"] == [16, 16]


def test_latents_are_the_scaled_mode_of_the_vae_or_the_pixels_themselves() -> None:
    model = tiny_latent_diffusion().freeze()
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    mean = model.vae.encode(pixels.float() / 127.5 - 1).latent_dist.mean
    torch.testing.assert_close(model.latents(pixels), 0.5 * mean)
    extremes = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    assert tiny_diffusion().latents(extremes).flatten(1).mean(1).tolist() == [-1, 1]


def test_noise_is_mixed_in_as_diffusers_does_it() -> None:
    model = tiny_diffusion()
    x, t, _ = inputs(model)
    noise = torch.randn_like(x)
    torch.testing.assert_close(model.noised(x, noise, t), model.scheduler.add_noise(x, noise, t))
    model = tiny_diffusion(prediction_type="v_prediction")
    torch.testing.assert_close(model.target(x, noise, t), model.scheduler.get_velocity(x, noise, t))


def test_v_prediction_is_converted_to_noise() -> None:
    model = tiny_diffusion(prediction_type="v_prediction").freeze()
    x, t, condition = inputs(model)
    noise = torch.randn_like(x)
    model.predict = lambda *given: model.target(x, noise, t)  # type: ignore[method-assign]
    torch.testing.assert_close(model.predict_noise(model.noised(x, noise, t), t, condition), noise)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_frozen_unet_passes_gradients_on_and_computes_none_of_its_own(checkpointing: bool) -> None:
    model = tiny_diffusion().freeze()
    model.set_grad_checkpointing(checkpointing)
    x, t, condition = inputs(model)
    x.requires_grad_()

    def backward_flops() -> int:
        loss = model.predict_noise(x, t, condition).square().sum()
        with FlopCounterMode(display=False) as counter:
            loss.backward()
        return counter.get_total_flops()

    frozen = backward_flops()
    assert float(x.grad.abs().max()) > 0 and all(p.grad is None for p in model.parameters())
    model.unet.requires_grad_(True)
    # With checkpointing a forward pass is part of both.
    assert backward_flops() > (1.25 if checkpointing else 1.5) * frozen


def test_a_caption_is_encoded_once_and_alike_in_any_company() -> None:
    model = tiny_diffusion().freeze()
    calls = []
    model.text_encoder.register_forward_hook(lambda *given: calls.append(1))
    together = model.encode_text([TEXTS[0], TEXTS[1], TEXTS[0]])
    assert len(calls) == 2 and torch.equal(together[0], together[2])
    assert torch.equal(model.encode_text(TEXTS[1:]), together[1:2]) and len(calls) == 2
    model.load_state_dict(tiny_diffusion(1).state_dict())
    assert not torch.equal(model.encode_text(TEXTS[1:]), together[1:2])


def test_conditioning_in_training_has_its_graph() -> None:
    model = tiny_diffusion()
    model.encode_text(TEXTS).sum().backward()
    assert any(p.grad is not None for p in model.text_encoder.parameters())


def test_seed_makes_the_weights_and_leaves_torchs_state() -> None:
    before = torch.get_rng_state()
    one, other = tiny_diffusion(3).state_dict(), tiny_diffusion(3).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_and_channels_last_stay_close(tmp_path: Path) -> None:
    model = tiny_diffusion().freeze()
    x, t, condition = inputs(model)
    folder = model.save(tmp_path / "m")
    half = load_diffusion(folder, dtype=torch.bfloat16, channels_last=True, checkpointing=True)
    found = half.predict_noise(x, t, half.encode_text(TEXTS))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, model.predict_noise(x, t, condition), atol=0.1, rtol=0.1)
    assert torch.equal(half.alphas_cumprod, model.alphas_cumprod)


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_parts_that_do_not_fit_are_one_line_with_both_sizes(tmp_path: Path) -> None:
    pixel, latent = tiny_diffusion(), tiny_latent_diffusion()
    with pytest.raises(UserError, match=r"in_channels = 4 and gives 4, while a picture .* has 3"):
        DiffusionTeacher(latent.unet, pixel.text_encoder, pixel.tokenizer.inner, pixel.scheduler)
    wide = tiny_diffusion(text_width=32)
    with pytest.raises(UserError, match=r"cross_attention_dim is 16 and the text encoder's hidden_size 32") as caught:
        DiffusionTeacher(pixel.unet, wide.text_encoder, pixel.tokenizer.inner, pixel.scheduler)
    assert "\n" not in str(caught.value)
    folder = pixel.save(tmp_path / "m")
    change(folder / "scheduler" / "scheduler_config.json", prediction_type="sample")
    with pytest.raises(UserError, match="prediction_type 'sample'; give one of epsilon, v_prediction"):
        load_diffusion(folder)


@pytest.mark.parametrize(
    ("part", "file", "key"),
    [
        ("text_encoder", "model.safetensors", "layer_norm1.weight"),
        ("unet", "diffusion_pytorch_model.safetensors", "time_embedding.linear_1.bias"),
        ("vae", "diffusion_pytorch_model.safetensors", "quant_conv.weight"),
    ],
)
def test_a_file_that_lacks_weights_is_refused(tmp_path: Path, part: str, file: str, key: str) -> None:
    """The libraries would draw them at random: a version that names weights otherwise gave a text encoder of noise."""
    weights = tiny_latent_diffusion().save(tmp_path / "d") / part / file
    state = load_file(weights)
    named = next(name for name in state if name.endswith(key))
    save_file({f"other.{name}" if name == named else name: value for name, value in state.items()}, weights)
    with pytest.raises(UserError, match=f"{part}: lacks 1 of the weights .*{named}"):
        load_diffusion(tmp_path / "d")


def test_missing_parts_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no unet/"):
        load_diffusion(tmp_path / "empty")
    with pytest.raises(UserError, match="Did you mean 'petri-diffusion'"):
        create_diffusion("petri-difusion")
    with pytest.raises(UserError, match="`chanels`"):
        create_diffusion({"chanels": (8, 16)})
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: (_ for _ in ()).throw(OSError("offline")))
    with pytest.raises(UserError, match="hf download owner/name"):
        load_diffusion("hf-hub:owner/name")
