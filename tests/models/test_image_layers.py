"""Layers of every kind of image tower: how many, what tokens, and that the last one leads to the embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import encoder, pixels_of
from tiny_towers import made

from clipdistill.models import DualEncoder
from clipdistill.models.feature_maps import MapLevel, before_the_last

CLIP = [(32, 4, 4)] * 2
RESNET = [(16, 16, 16), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
EFFICIENT = [(16, 32, 32), (24, 16, 16), (32, 8, 8), (48, 4, 4), (64, 2, 2)]
JOINED = [(16, 80, 80), (24, 40, 40), (32, 20, 20), (48, 10, 10), (64, 5, 5)]
KINDS: dict[str, tuple[list[tuple[int, int, int]], int, int]] = {
    # shapes (channels, height, width) of the layers; tokens that belong to no place; the one a language model reads
    "clip": (CLIP, 1, 0),
    "average": (CLIP, 1, 0),
    "coca": (CLIP, 1, 0),
    "siglip": ([(64, 10, 10)] * 6, 1, 4),
    "tiny_test_siglip": ([(32, 4, 4)] * 3, 0, 1),
    "tiny_test_registers": ([(32, 4, 4)] * 3, 3, 1),
    "timm": (EFFICIENT, 0, 4),
    "fastvit_t8": ([(48, 16, 16), (96, 8, 8), (192, 4, 4), (384, 2, 2)], 0, 3),
    "joined": (JOINED, 0, 4),
    "resnet": ([(8, 16, 16), (32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)], 0, 4),
    "petri-teacher-small": (RESNET, 0, 4),
    "petri-student": ([(96, 8, 8)] * 3, 1, 1),
    "petri-mobile": ([(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)], 0, 4),
}


def embedding(model: DualEncoder, layer: Any) -> torch.Tensor:
    """The tower's own head on a last layer, put together by hand."""
    visual, level = model.clip.visual, layer.level
    grid = layer.tokens.transpose(1, 2).unflatten(2, (level.height, level.width))
    whole = layer.tokens if layer.apart is None else torch.cat([layer.apart, layer.tokens], dim=1)
    if hasattr(visual, "attnpool"):
        return visual.attnpool(grid)
    if not hasattr(visual, "trunk"):
        return visual._pool(whole)[0] @ visual.proj
    trunk = visual.trunk
    if hasattr(trunk, "final_conv"):
        last = trunk.final_conv(grid)
    elif type(trunk).__name__ == "EfficientNet":
        last = trunk.bn2(trunk.conv_head(grid))
    else:
        last = grid if hasattr(trunk, "conv_head") else trunk.norm(whole)
    return visual.head(trunk.forward_head(last))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_every_kind_of_tower(kind: str, tmp_path: Path) -> None:
    """Names, tokens and those apart; the same as asked for alone; and the last leads to the model's embedding.

    That each map asked for alone is the same shows too that no later block wrote into it.
    """
    shapes, apart, read = KINDS[kind]
    model = made(kind, tmp_path).eval()
    pixels = pixels_of(model)
    with torch.no_grad():
        layers = model.image_layers(pixels)
        levels = model.map_levels()
        assert [(level.channels, level.height, level.width) for level in levels] == shapes
        word = "block" if len(set(shapes)) == 1 else "stage"
        assert [layer.name for layer in layers] == [f"{word} {number}" for number in range(len(shapes))]
        for layer, level in zip(layers, levels, strict=True):
            assert layer.level == level and layer.tokens.shape == (2, level.height * level.width, level.channels)
            assert (0 if layer.apart is None else layer.apart.shape[1]) == apart
            alone = model.image_map(pixels, level.number)
            by_row = torch.stack([alone[:, :, y, x] for y in range(level.height) for x in range(level.width)], dim=1)
            torch.testing.assert_close(layer.tokens, by_row, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(embedding(model, layers[-1]), model.encode_image(pixels), rtol=1e-4, atol=1e-5)
    assert before_the_last(levels) == read


def test_the_class_token_is_the_first_of_those_apart() -> None:
    """Of the last layer it alone makes the embedding."""
    model = encoder("clip")
    with torch.no_grad():
        last = model.image_layers(pixels_of(model))[-1]
        assert last.apart is not None
        pooled = model.clip.visual.ln_post(last.apart[:, 0]) @ model.clip.visual.proj
        torch.testing.assert_close(pooled, model.encode_image(pixels_of(model)))


def test_pooling_leaves_out_what_belongs_to_no_place() -> None:
    layer = encoder("clip").image_layers(pixels_of(encoder("clip")))[0]
    assert layer.pooled().shape == (2, 32) and layer.pooled("flat").shape == (2, 16 * 32)
    torch.testing.assert_close(layer.pooled(), layer.pooled("flat").reshape(2, 16, 32).sum(dim=1) / 16)
    assert torch.equal(layer.pooled("flat")[1, 32:64], layer.tokens[1, 1])


def test_the_only_block_is_read_where_there_is_none_before_it() -> None:
    assert before_the_last([MapLevel(0, 8, 2, 2)]) == 0
