from __future__ import annotations

import pytest
import torch

from clipdistill.objectives import mask_patches


def test_each_image_hides_exactly_the_share_and_leaves_the_rest() -> None:
    pixels = torch.rand(6, 3, 16, 24) + 0.5
    before = pixels.clone()
    masked = mask_patches(pixels, 4, 0.75, generator=torch.Generator().manual_seed(0))
    blocks = masked.unfold(2, 4, 4).unfold(3, 4, 4)
    gone = (blocks == 0).flatten(4).all(-1).all(1)  # [B, rows, columns]: whole patches, all channels
    assert gone.flatten(1).sum(1).tolist() == [18] * 6  # 0.75 of 4 x 6
    keep = ~gone.repeat_interleave(4, 1).repeat_interleave(4, 2)
    keep = keep[:, None].expand_as(pixels)
    assert torch.equal(masked[keep], pixels[keep]) and (masked[~keep] == 0).all()
    assert torch.equal(pixels, before)


def test_images_draw_their_own_masks_by_seed() -> None:
    pixels = torch.ones(8, 1, 8, 8)
    first = mask_patches(pixels, 2, 0.5, generator=torch.Generator().manual_seed(3))
    again = mask_patches(pixels, 2, 0.5, generator=torch.Generator().manual_seed(3))
    other = mask_patches(pixels, 2, 0.5, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len({tuple(mask.flatten().tolist()) for mask in first}) > 1


def test_noise_says_which_patches() -> None:
    pixels = torch.ones(1, 1, 4, 4)
    masked = mask_patches(pixels, 2, 0.5, noise=torch.tensor([[0.9, 0.1, 0.2, 0.8]]))
    expected = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    assert torch.equal(masked[0, 0], expected)


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.1, 2), (0.3, 5), (1.0, 16)])
def test_number_of_patches_is_rounded(ratio: float, count: int) -> None:
    masked = mask_patches(torch.ones(3, 1, 8, 8), 2, ratio)
    assert ((masked == 0).flatten(1).sum(1) == count * 4).all()


def test_fill_takes_one_colour_a_channel_and_gradients_pass_where_visible() -> None:
    pixels = torch.rand(2, 3, 4, 4, requires_grad=True)
    masked = mask_patches(pixels, 2, 0.5, fill=(0.1, 0.2, 0.3))
    masked.sum().backward()
    hidden = pixels.grad == 0
    assert hidden.float().mean() == 0.5
    for channel, colour in enumerate((0.1, 0.2, 0.3)):
        assert (masked[:, channel][hidden[:, channel]] == colour).all()


def test_wrong_arguments_are_named() -> None:
    pixels = torch.ones(2, 3, 8, 8)
    with pytest.raises(ValueError, match="patch 3 doesn't divide images of 8 x 8"):
        mask_patches(pixels, 3, 0.5)
    with pytest.raises(ValueError, match="ratio must be between 0 and 1, got 75"):
        mask_patches(pixels, 2, 75)
    with pytest.raises(ValueError, match=r"noise must have shape \[2, 16\], got \[2, 4\]"):
        mask_patches(pixels, 2, 0.5, noise=torch.rand(2, 4))
    with pytest.raises(ValueError, match="torch.uint8"):
        mask_patches(pixels.byte(), 2, 0.5)
    with pytest.raises(ValueError, match="one number or 3 numbers"):
        mask_patches(pixels, 2, 0.5, fill=(0.0, 1.0))
