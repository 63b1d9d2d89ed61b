"""Maps of image towers, and what lies under a box in one of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.feature_maps import MapLevel, chosen_level, map_levels, pool_boxes

LEVELS = [MapLevel(0, 16, 16, 16), MapLevel(1, 64, 14, 12), MapLevel(2, 128, 7, 7), MapLevel(3, 256, 7, 7)]


def pooled(maps: torch.Tensor, box: list[float], **how: Any) -> torch.Tensor:
    return pool_boxes(maps, torch.tensor([box]), torch.zeros(1).long(), **how)[0]


def test_the_whole_map_by_hand() -> None:
    """A 4 x 4 map into 2 x 2 bins without padding: each bin's four points fall on its four cells' middles."""
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert pooled(maps, [0, 0, 1, 1], pad=1.0).tolist() == [sum(cells) / 4 for cells in expected]


def test_a_quarter_and_its_surroundings_by_hand() -> None:
    """One bin on the upper left 2 x 2 cells of a 4 x 4 map; twice as wide and high, and cut to the picture, 3 x 3."""
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert pooled(maps, [0, 0, 0.5, 0.5], bins=1, pad=1.0).tolist() == [2.5]
    # Points of 0..3 in each direction lie at 0.75 and 2.25, between the middles 0.5 and 1.5, and 1.5 and 2.5: 0.25 of
    # the way and 0.75, so at columns 0.25 and 1.75, mean 1; rows likewise: 4 * 1 + 1.
    assert pooled(maps, [0, 0, 0.5, 0.5], bins=1, pad=2.0).item() == pytest.approx(5.0)


def test_each_box_reads_its_own_picture_channel_by_channel() -> None:
    maps = torch.stack([torch.full((3, 4, 4), 1.0), torch.arange(3.0)[:, None, None].expand(3, 4, 4)])
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.3, 0.3, 0.31, 0.31], [0.0, 0.0, 1.0, 1.0]])
    found = pool_boxes(maps, boxes, torch.tensor([1, 0, 1]), bins=2)
    assert found.shape == (3, 12) and found[1].tolist() == [1.0] * 12
    assert torch.equal(found[0], found[2]) and found[0].tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4
    assert pool_boxes(maps, boxes[:0], torch.zeros(0).long()).shape == (0, 12)


def test_the_level_that_is_taken() -> None:
    assert chosen_level(LEVELS, None, "m").number == 1  # the deepest of 12 x 12 cells
    assert chosen_level(LEVELS[2:], None, "m").number == 3  # where none has as many, the deepest of the finest
    assert chosen_level(LEVELS, 0, "m").channels == 16
    with pytest.raises(UserError, match=r"`level`: 'm' has no map 4; it has .* 0: 16 x 16 x 16, 1: 64 x 14 x 12"):
        chosen_level(LEVELS, 4, "m")


@pytest.mark.parametrize("name", ["petri-teacher-small", "petri-tiny-student", "RN50", "ViT-B-32"])
def test_maps_of_real_towers(name: str) -> None:
    model = create_model(name, 0).eval()
    levels = model.map_levels()
    height, width = model.preprocess["size"]
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    with torch.no_grad():
        for level in (levels[0], levels[-1]):
            found = model.image_map(pixels, level.number)
            assert found.shape == (2, level.channels, level.height, level.width)
        last = found.flatten(2).transpose(1, 2)
        _, tokens = model.image_tokens(pixels)
    if name in ("petri-teacher-small", "RN50"):  # of a convolutional tower the last map is what its tokens are
        torch.testing.assert_close(last, tokens)
    if len(levels) > 1 and levels[0].height > levels[-1].height:
        assert levels[0].height >= 4 * levels[-1].height  # pixels first


def test_a_tower_without_maps_is_said() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(UserError, match="model 'plain': its image tower gives no maps of features; use `features: cr"):
        map_levels(SimpleNamespace(parameters=lambda: iter([weight])), (8, 8), "plain")
