"""Every kind of image tower as LLaVA's: the layer that is read, its tokens, and as many as transformers' processor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import encoder, pixels_of
from tiny_towers import made

from clipdistill.export.vlm_folder import make_processor
from clipdistill.models import DualEncoder
from clipdistill.models.vlm import VLM, ImageTower, create_vlm
from clipdistill.models.vlm.native import native_tower
from clipdistill.models.vlm.tower import blind_tower, image_tower

KINDS: dict[str, tuple[int, int, int, str]] = {
    # tokens of a picture, their width, the layer as LLaVA counts it, transformers' own tower if it has one
    "clip": (16, 32, -2, "CLIPVisionModel"),
    "quick": (16, 32, -2, "CLIPVisionModel"),
    "eps": (16, 32, -2, "CLIPVisionModel"),
    "average": (16, 32, -2, "CLIPVisionModel"),
    "coca": (16, 32, -2, ""),
    "siglip": (100, 64, -2, ""),  # has a class token and scaled layers, which SigLIP hasn't
    "tiny_test_siglip": (16, 32, -2, "SiglipVisionModel"),
    "tiny_test_registers": (16, 32, -2, ""),
    "timm": (4, 64, -1, ""),
    "fastvit_t8": (4, 384, -1, ""),
    "joined": (25, 64, -1, ""),
    "resnet": (4, 256, -1, ""),
    "petri-teacher-small": (4, 512, -1, ""),
    "petri-student": (64, 96, -2, "CLIPVisionModel"),
    "petri-mobile": (4, 256, -1, ""),
}
APART = {"clip": 1, "quick": 1, "eps": 1, "average": 1, "coca": 1, "siglip": 1, "tiny_test_registers": 3,
         "petri-student": 1}  # fmt: skip
"""Tokens that belong to no place."""


def read_layer(model: DualEncoder, layer: int) -> torch.Tensor:
    with torch.no_grad():
        return model.eval().image_layers(pixels_of(model))[layer].tokens


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_the_layer_before_the_last(kind: str, tmp_path: Path) -> None:
    encoder = made(kind, tmp_path)
    tokens, width, layer, native = KINDS[kind]
    for wanted in {"", native}:
        model = create_vlm(encoder, "petri-lm-tiny", seed=0, native=bool(wanted))
        assert type(model.tower).__name__ == (wanted or "ImageTower")
        assert model.llava.config.vision_feature_layer == layer
        seen = model.see(pixels_of(encoder))
        torch.testing.assert_close(seen, read_layer(encoder, layer), rtol=1e-5, atol=2e-5)
        assert seen.shape == (2, tokens, width) and model.image_tokens == tokens
        assert model.connector.linear_1.in_features == width
        make_processor(model)  # counts as many, or raises
        model.answer(["what is there?"], pixels_of(encoder, 1), [True], 2)  # and so does LLaVA itself
    assert bool(native) == (native_tower(encoder) is not None)


@pytest.mark.parametrize("kind", ["clip", "tiny_test_siglip", "tiny_test_registers", "resnet", "fastvit_t8"])
def test_token_0_left_out_as_tinyllava_does(kind: str, tmp_path: Path) -> None:
    encoder, apart = made(kind, tmp_path), APART.get(kind, 0)
    layer = KINDS[kind][2]
    with torch.no_grad():
        read = encoder.eval().image_layers(pixels_of(encoder))[layer]
    everything = read.tokens if read.apart is None else torch.cat([read.apart, read.tokens], dim=1)
    assert everything.shape[1] == KINDS[kind][0] + apart
    for native in (False, True):
        model = create_vlm(encoder, "petri-lm-tiny", seed=0, native=native, drop_first=True)
        torch.testing.assert_close(model.see(pixels_of(encoder)), everything[:, 1:], rtol=1e-5, atol=2e-5)
        assert model.image_tokens == KINDS[kind][0] + apart - 1
        make_processor(model)
        model.answer(["what is there?"], pixels_of(encoder, 1), [True], 2)


def test_layers_as_llava_asks_for_them() -> None:
    model = encoder("resnet")
    tower, layer = image_tower(model)
    pixels = model.normalise_pixels(pixels_of(model))
    with torch.no_grad():
        layers = [each.tokens for each in model.image_layers(pixels_of(model))]
        whole = tower.eval()(pixels).hidden_states
        some = tower(pixels, output_hidden_states=[-3, 2], return_dict=True).hidden_states
    assert layer == -1 and len(whole) == len(some) == 6 and whole[0] is None
    for place, each in enumerate(layers, 1):
        assert torch.equal(whole[place], each)
        assert (some[place] is None) == (place not in (2, 3)) and (
            some[place] is None or torch.equal(some[place], each)
        )
    for wrong in (0, 6, -6, [1, 0]):  # 0 is falsy, and would be the patches' embeddings
        with pytest.raises(ValueError, match="layers 1 to 5"):
            tower(pixels, output_hidden_states=wrong)


@pytest.mark.parametrize("kind", ["tiny_test_registers", "joined", "fastvit_t8", "resnet"])
def test_opened_again_by_transformers(kind: str, tmp_path: Path) -> None:
    """from_pretrained builds on the meta device, where nothing that isn't in the file has a value."""
    model = made(kind, tmp_path)
    tower, layer = image_tower(model)
    rope = torch.arange(3.0)
    next(tower.visual.modules()).register_buffer("made_by_init", rope, persistent=False)
    tower = ImageTower(tower.config, tower.visual).eval()
    assert "visual.made_by_init" in tower.state_dict()
    del tower.visual.made_by_init
    tower.save_pretrained(tmp_path / "tower")
    again, found = ImageTower.from_pretrained(tmp_path / "tower", output_loading_info=True)
    assert not any(found.values()) and not any(value.is_meta for value in again.state_dict().values())
    pixels = model.normalise_pixels(pixels_of(model))
    with torch.no_grad():
        ours, theirs = (each(pixels, output_hidden_states=layer).hidden_states[layer] for each in (tower, again.eval()))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_blind_tower_sees_nothing() -> None:
    tower, layer = blind_tower()
    model: VLM = create_vlm(None, "petri-lm-tiny", seed=0)
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    assert model.image_tokens == 1 and layer == -1 and not list(tower.parameters())
    assert torch.equal(model.see(pixels), torch.zeros(3, 1, 8))
    make_processor(model)
    assert len(set(model.answer(["what is there?"] * 3, pixels, [True] * 3, 4))) == 1


def test_the_tower_stays_in_evaluation_mode(tmp_path: Path) -> None:
    """Running statistics of a CNN's batch norm and dropout would both change what a frozen tower says."""
    encoder = made("fastvit_t8", tmp_path)
    model = create_vlm(encoder, "petri-lm-tiny", seed=0)
    model.tower.visual.trunk.stages[0].register_module("more", torch.nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.tower.state_dict().items()}
    for owner in (model.train(), torch.nn.ModuleList([model]).train()):
        assert owner.training
        assert not any(module.training for module in model.tower.modules()) and model.language_model.training
        first, second = model.see(pixels_of(encoder)), model.see(pixels_of(encoder))
        assert torch.equal(first, second)

    assert all(torch.equal(value, before[name]) for name, value in model.tower.state_dict().items())
