"""The evaluation transform is open_clip's; augmentations are pure functions of (seed, id, view)."""

from __future__ import annotations

import numpy as np
import open_clip.transform
import pytest
import torch
from data_files import encoded, picture, smooth

from clipdistill.data.sample import ImageRef
from clipdistill.data.transforms import AugmentPlan, AugmentRecord, ImageView, apply, decode_size
from clipdistill.errors import UserError

SIZES = [(64, 64), (97, 61), (61, 97), (33, 150), (20, 31), (224, 17), (65, 64), (63, 48)]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(64, 64), (48, 64), (63, 31)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_equals_open_clip_pixel_for_pixel(mode: str, size: tuple[int, int], interpolation: str) -> None:
    theirs = open_clip.transform.image_transform(
        size, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=mode, interpolation=interpolation,
        fill_color=7,
    )  # fmt: skip
    view = ImageView(size, mode, interpolation, fill_color=7)
    for number, image_size in enumerate(SIZES):
        image = picture(number, image_size)
        expected = (theirs(image) * 255).round().to(torch.uint8)
        assert torch.equal(apply(image, None, view), expected), image_size


def test_a_plan_without_augmentation_is_the_evaluation_transform() -> None:
    image, view = picture(1, (90, 50)), ImageView((32, 32))
    assert torch.equal(apply(image, AugmentPlan(seed=5).record("a", 3), view), apply(image, None, view))


def test_view_is_read_from_an_open_clip_preprocess_config() -> None:
    cfg = {"size": [224, 160], "mode": "RGB", "mean": (0,), "std": (1,), "interpolation": "bilinear"}
    view = ImageView.from_preprocess({**cfg, "resize_mode": "squash", "fill_color": 3})
    assert view == ImageView((224, 160), "squash", "bilinear", 3)
    assert ImageView.from_preprocess({"size": 64, "interpolation": "random"}) == ImageView((64, 64))
    with pytest.raises(UserError, match="Did you mean 'squash'"):
        ImageView((8, 8), "squish")


PLAN = AugmentPlan(crop_scale=(0.3, 1.0), flip=0.5, jitter=0.4, jitter_probability=0.8, grayscale=0.2, seed=3)


def test_record_depends_on_seed_id_and_view_and_on_nothing_else() -> None:
    again = AugmentPlan(crop_scale=(0.3, 1.0), flip=0.5, jitter=0.4, jitter_probability=0.8, grayscale=0.2, seed=3)
    for number in range(5):  # calls in between change nothing
        PLAN.record(f"x{number}", number)
    assert PLAN.record("a", 1) == again.record("a", 1)
    others = [PLAN.record("b", 1), PLAN.record("a", 2), AugmentPlan(crop_scale=(0.3, 1.0), seed=4).record("a", 1)]
    assert all(PLAN.record("a", 1).x != other.x for other in others)


def test_records_are_pinned() -> None:
    """Stored teacher targets outlive a version of this package: a change here must raise the plan's version."""
    record = AugmentPlan(crop_scale=(0.5, 1.0), flip=0.5, seed=0).record("coco/1.jpg", 2)
    assert (record.area, record.aspect, record.flip) == (pytest.approx(PINNED[0]), pytest.approx(PINNED[1]), PINNED[2])
    assert AugmentPlan(crop_scale=(0.5, 1.0), flip=0.5, seed=0).fingerprint() == PINNED[3]


PINNED = (0.6787615081993863, 0.2496280453633517, False, "6a23e0ca9319cf83")


def test_draws_have_the_stated_distribution() -> None:
    records = [PLAN.record("s", view) for view in range(4000)]
    areas = np.array([record.area for record in records])
    assert 0.3 <= areas.min() < 0.32 and 0.98 < areas.max() <= 1.0 and abs(areas.mean() - 0.65) < 0.02
    assert abs(np.mean([record.flip for record in records]) - 0.5) < 0.04
    assert abs(np.mean([record.grayscale for record in records]) - 0.2) < 0.03
    assert abs(np.mean([record.brightness == 1 for record in records]) - 0.2) < 0.03
    factors = np.array([record.contrast for record in records if record.contrast != 1])
    assert 0.6 <= factors.min() < 0.62 and 1.38 < factors.max() <= 1.4


@pytest.mark.parametrize("size", [(100, 100), (300, 100), (100, 300), (1000, 20), (20, 1000)])
def test_crop_boxes_stay_inside_and_keep_area_and_aspect(size: tuple[int, int]) -> None:
    lefts = []
    for view in range(300):
        record = PLAN.record("s", view)
        left, top, right, bottom = record.box(*size)
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        aspect = (right - left) / (bottom - top)
        assert 3 / 4 - 1e-6 <= aspect <= 4 / 3 + 1e-6
        share = (right - left) * (bottom - top) / (size[0] * size[1])
        if max(size) / min(size) < 3:
            assert share == pytest.approx(record.area)
        lefts.append(left / max(size[0] - (right - left), 1e-9))
    if size[0] >= size[1] and size[0] > 100:
        assert min(lefts) < 0.05 and max(lefts) > 0.95  # anywhere, not in the middle only


def test_student_and_teacher_of_other_sizes_see_the_same_crop() -> None:
    image = smooth(640, 480)
    for view in range(8):
        record = AugmentPlan(crop_scale=(0.1, 0.6), flip=0.5).record("s", view)
        small = apply(image, record, ImageView((32, 32))).float()
        large = apply(image, record, ImageView((96, 96))).float()
        pooled = torch.nn.functional.avg_pool2d(large[None], 3)[0]
        assert (small - pooled).abs().max() < 6, view


def test_a_jpeg_decoded_smaller_shows_the_same_crop() -> None:
    ref = ImageRef.from_bytes(encoded(smooth(1601, 1203), "JPEG", quality=95))
    view = ImageView((64, 64))
    for number in range(6):
        record = AugmentPlan(crop_scale=(0.4, 1.0)).record("s", number)
        reduced = ref.open(decode_size(record, view))
        assert reduced.width < 1601
        difference = apply(reduced, record, view).float() - apply(ref.open(), record, view).float()
        assert difference.abs().max() < 5


def test_flip_grayscale_and_jitter_do_what_they_say() -> None:
    image, view = picture(4, (16, 16)), ImageView((16, 16))
    plain = apply(image, None, view)
    assert torch.equal(apply(image, AugmentRecord(flip=True), view), plain.flip(2))
    grey = apply(image, AugmentRecord(grayscale=True), view)
    assert torch.equal(grey[0], grey[1]) and torch.equal(grey[1], grey[2])
    dark = apply(image, AugmentRecord(brightness=0.5), view)
    assert (dark.float() - plain.float() * 0.5).abs().max() <= 1
    flat = apply(image, AugmentRecord(contrast=0.0), view)
    assert flat.float().std() == 0
    dull = apply(image, AugmentRecord(saturation=0.0), view)
    assert torch.equal(dull[0], dull[2])
    whole = AugmentRecord(area=1.0)
    assert torch.equal(apply(image, whole, view), plain)


def test_all_views_are_shown_before_one_comes_again() -> None:
    for count in (1, 2, 5, 6, 12):
        plan = AugmentPlan(flip=0.5, views=count, seed=1)
        for start in (0, count, 7 * count):
            assert {plan.view_of("s", start + turn) for turn in range(count)} == set(range(count))
    plan = AugmentPlan(flip=0.5, views=5)
    firsts = {plan.view_of(f"s{number}", 0) for number in range(50)}
    assert firsts == set(range(5))  # samples aren't in step
    assert [AugmentPlan(flip=0.5).view_of("s", epoch) for epoch in (0, 7)] == [0, 7]
    assert AugmentPlan(views=4).view_of("s", 3) == 0 and AugmentPlan(views=4).count == 1


def test_fingerprint_tells_plans_apart() -> None:
    plans = [PLAN, AugmentPlan(flip=0.5), AugmentPlan(flip=0.5, seed=1), AugmentPlan(flip=0.5, views=2), AugmentPlan()]
    assert len({plan.fingerprint() for plan in plans}) == len(plans)
    assert AugmentPlan(seed=1, views=3).fingerprint() == AugmentPlan().fingerprint()
    assert AugmentPlan(crop_scale=[0.9, 1]).fingerprint() == AugmentPlan(crop_scale=(0.9, 1.0)).fingerprint()


@pytest.mark.parametrize(
    "bad", [{"crop_scale": (0.9, 1.1)}, {"crop_scale": (0, 1)}, {"crop_ratio": (2, 1)}, {"flip": 2}, {"views": 0}]
)
def test_impossible_plans_are_refused(bad: dict) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        AugmentPlan(**bad)


def test_greyscale_picture_is_shown_as_open_clip_shows_it() -> None:
    image = picture(3, (40, 30)).convert("L")
    theirs = open_clip.transform.image_transform(16, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
    ours = apply(ImageRef.from_bytes(encoded(image)).open(), None, ImageView((16, 16)))
    assert torch.equal(ours, (theirs(image) * 255).round().to(torch.uint8))
