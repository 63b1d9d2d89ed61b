"""Objects on the grid of a picture: by hand, and as pictures are cut and turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from question_files import METADATA, vcr_item, write_vcr

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.augment import AugmentRecord
from clipdistill.data.fields import Picture
from clipdistill.data.grid_fields import GridObjects, cells_of, seen_boxes
from clipdistill.data.transforms import ImageView
from clipdistill.models.fusion.grid import grid_boxes

VIEW = ImageView((8, 8), "squash")


def test_the_cell_that_a_box_covers_most_of() -> None:
    boxes = np.array([
        [0.0, 0.0, 0.2, 0.2],  # inside the first
        [0.6, 0.1, 0.9, 0.3],  # right of the middle
        [0.4, 0.6, 0.9, 0.9],  # more of the last than of the one to the left of it
        [-0.5, 0.0, -0.1, 0.9],  # outside
        [0.3, 0.3, 0.3, 0.6],  # without an area
    ])  # fmt: skip
    assert cells_of(boxes, 2).tolist() == [0, 1, 3, -1, -1]
    assert cells_of(np.zeros((0, 4)), 2).shape == (0,)


def test_of_cells_that_are_covered_alike_the_one_in_the_middle() -> None:
    whole, right = [0.0, 0.0, 1.0, 1.0], [1 / 3, 0.0, 1.0, 1.0]
    assert cells_of(np.array([whole]), 3).tolist() == [4]
    assert cells_of(np.array([whole, right]), 2).tolist() == [0, 1]  # four alike; two columns, the right one whole
    assert cells_of(np.array([right]), 3).tolist() == [4]


@pytest.mark.parametrize("side", [1, 3, 7])
def test_cells_are_counted_as_the_model_counts_them(side: int) -> None:
    assert cells_of(grid_boxes(side * side).numpy(), side).tolist() == list(range(side * side))


def test_boxes_follow_the_crop_and_the_flip() -> None:
    boxes = np.array([[30.0, 10.0, 60.0, 20.0]], np.float32)
    np.testing.assert_allclose(seen_boxes(boxes, (120, 40)), [[0.25, 0.25, 0.5, 0.5]])
    np.testing.assert_allclose(seen_boxes(boxes, (120, 40), AugmentRecord(flip=True)), [[0.5, 0.25, 0.75, 0.5]])
    # A quarter of the area at the picture's aspect: 60 x 20, from (30, 10).
    crop = AugmentRecord(area=0.25, ratio=(3.0, 3.0), x=0.5, y=0.5)
    assert crop.box(120, 40) == pytest.approx((30, 10, 90, 30))
    np.testing.assert_allclose(seen_boxes(boxes, (120, 40), crop), [[0, 0, 0.5, 0.5]], atol=1e-9)


def test_a_batch_holds_pictures_and_cells(tmp_path: Path) -> None:
    items = [vcr_item(0), vcr_item(1)]
    mixture = Mixture([(open_source({"format": "vcr", "path": write_vcr(tmp_path, items)}), None)])
    fields = {"image/student": Picture(VIEW), "object_regions": GridObjects(VIEW, 2)}
    plain, turned = (
        next(iter(Loader(mixture, fields, batch_size=2, plan=plan, seed=0, shuffle=False).epoch(0)))
        for plan in (AugmentPlan(), AugmentPlan(flip=1.0))
    )
    size = mixture[0].image.open().size
    expected = cells_of(np.array(METADATA["boxes"])[:, :4] / [*size, *size], 2)
    assert plain["image/student"].shape == (2, 3, 8, 8)
    assert plain["object_regions"].tolist() == [expected.tolist()] * 2
    other = np.array([1, 0, 3, 2])
    assert turned["object_regions"].tolist() == [[int(other[one]) for one in expected]] * 2
    assert torch.equal(turned["image/student"], plain["image/student"].flip(-1))
    assert GridObjects(VIEW, 2) == GridObjects(VIEW, 2) != GridObjects(VIEW, 3)
