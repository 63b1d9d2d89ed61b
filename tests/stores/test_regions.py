"""Region stores: what is found, embedded, padded, restarted and refused."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import clipdistill.stores.region_cache as region_cache
from clipdistill import locks
from clipdistill.data import ImageView, Mixture, open_source
from clipdistill.data.transforms import apply
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.regions import Found, open_provider
from clipdistill.petri import write_world
from clipdistill.stores.region_cache import cache_regions
from clipdistill.stores.regions import RegionStore

SHARD = "shard-00000-of-00001"


@pytest.fixture(scope="module")
def model() -> Any:
    return create_model("petri-tiny-student", seed=0).eval()


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    world = tmp_path_factory.mktemp("regions") / "world"
    write_world(world, images=20, val=1, test=1, seed=0, image_size=32, formats=("karpathy", "coco"))
    spec = {
        "format": "karpathy", "path": str(world / "dataset_petri.json"), "split": "train",
        "boxes": str(world / "annotations" / "instances_train.json"),
    }  # fmt: skip
    return Mixture([(open_source(spec), None)])


class Fixed:
    """Finds the same boxes in every picture: two of them unsure, one outside."""

    name, key = "fixed", "fixed-1"

    def find(self, images: Any) -> list[Found]:
        boxes = np.array([[0, 0, 16, 16], [8, 8, 40, 40], [4, 4, 20, 28], [50, 50, 60, 60]], np.float32)
        return [Found(boxes, np.array([0.3, 0.9, 0.1, 0.8], np.float32), ("a", "b", "c", "d"))] * len(images)


def test_boxes_are_chosen_clipped_ordered_and_their_crops_embedded(
    model: Any, mixture: Mixture, tmp_path: Path
) -> None:
    store = cache_regions(model, mixture, Fixed(), tmp_path / "store", min_score=0.25, batch_size=7, detect_batch=3)
    assert store is not None and store.ids == mixture.ids
    found = store.regions(5)
    assert found.labels == ("b", "a")  # the sure ones, surest first; what lies outside the picture is no region
    np.testing.assert_allclose(found.boxes, [[8, 8, 32, 32], [0, 0, 16, 16]])
    crop = mixture[5].image.open().crop((8, 8, 32, 32))
    pixels = apply(crop, None, ImageView.from_preprocess(model.preprocess))[None]  # a square box is no matter of `crop`
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model.encode_image(pixels), dim=1)
    looked = store.lookup([5], 3)
    np.testing.assert_allclose(looked["features"][0, 0], expected[0].numpy(), atol=2e-3)
    assert looked["mask"].tolist() == [[True, True, False]] and not looked["features"][0, 2].any()
    np.testing.assert_allclose(looked["scores"][0], [0.9, 0.3, 0], atol=1e-6)
    np.testing.assert_allclose(looked["areas"][0], [24 * 24 / 32**2, 16 * 16 / 32**2, 0])


def test_a_long_box_keeps_both_ends_when_resized_and_its_middle_when_centred(model: Any, tmp_path: Path) -> None:
    """A box of 1 : 2.5, red and blue at its ends and green in its middle 40 %."""
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[20:40, 5:20, 0] = pixels[20:40, 20:40, 1] = pixels[20:40, 40:55, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "0.png")
    (tmp_path / "t.csv").write_text("filepath,caption\n0.png,a flag\n")
    mixture = Mixture([(open_source({"format": "csv", "path": str(tmp_path / "t.csv")}), None)])

    class Long(Fixed):
        def find(self, images: Any) -> list[Found]:
            return [Found(np.array([[5, 20, 55, 40]], np.float32), np.ones(1, np.float32), ("flag",))] * len(images)

    seen: list[torch.Tensor] = []
    encode = model.encode_image
    model.encode_image = lambda images: seen.append(images) or encode(images)
    try:
        stores = [cache_regions(model, mixture, Long(), tmp_path / how, crop=how) for how in ("resize", "centre")]
    finally:
        del model.encode_image
    resized, centred = (images[0].float().mean(dim=1) for images in seen)  # [3, width] of each
    width = resized.shape[1]
    assert resized.shape == centred.shape
    assert resized[0, 0] > 200 and resized[2, -1] > 200  # both ends are there
    # 15 of the box's 50 columns are red, 20 green, 15 blue
    assert (resized.argmax(dim=0).bincount() - torch.tensor([0.3, 0.4, 0.3]) * width).abs().max() <= 1
    assert (centred.argmax(dim=0) == 1).all()  # green alone
    view = ImageView.from_preprocess(model.preprocess)
    crop = Image.fromarray(pixels[20:40, 5:55])
    assert torch.equal(seen[1][0], apply(crop, None, view))  # what it was before there was a choice
    assert torch.equal(seen[0][0], apply(crop.resize(view.size[::-1], Image.Resampling.BICUBIC), None, view))
    assert stores[0] is not None and stores[0].regions(0).boxes.tolist() == [[5, 20, 55, 40]]  # the box, not the input
    with pytest.raises(UserError, match="how boxes become features: the store has centre, now it is resize"):
        cache_regions(model, mixture, Long(), tmp_path / "centre")


def test_nothing_sure_means_the_whole_picture(model: Any, mixture: Mixture, tmp_path: Path) -> None:
    store = cache_regions(model, mixture, Fixed(), tmp_path / "store", min_score=0.95)
    assert store is not None and store.regions(0).labels == ("picture",)
    looked = store.lookup([0], 2)
    assert looked["areas"][0].tolist() == [1, 0] and looked["scores"][0].tolist() == [1, 0]


def test_boxes_of_the_data_set(model: Any, mixture: Mixture, tmp_path: Path) -> None:
    store = cache_regions(model, mixture, None, tmp_path / "store", max_regions=2)
    assert store is not None
    regions = mixture[3].regions
    assert regions is not None
    np.testing.assert_allclose(store.regions(3).boxes, regions.boxes[:2], atol=1e-4)


def test_a_killed_run_goes_on_and_leaves_the_same_bytes(
    model: Any, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_cache, "BLOCK", 8)
    cache_regions(model, mixture, Fixed(), tmp_path / "whole")

    class Dying(Fixed):
        pictures = 0

        def find(self, images: Any) -> list[Found]:
            self.pictures += len(images)
            if self.pictures > 10:
                raise KeyboardInterrupt
            return super().find(images)

    with pytest.raises(KeyboardInterrupt):
        cache_regions(model, mixture, Dying(), tmp_path / "halved", detect_batch=1)
    with pytest.raises(UserError, match="an unfinished store, 0 of 1 parts complete"):
        RegionStore.open(tmp_path / "halved")
    assert len((tmp_path / "halved" / SHARD / "blocks.jsonl").read_text().splitlines()) == 1
    cache_regions(model, mixture, Fixed(), tmp_path / "halved")
    for file in ("store.json", *(f"{SHARD}/{name}" for name in ("features.f16", "geometry.f32", "blocks.jsonl"))):
        assert (tmp_path / "halved" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


def test_two_ranks_write_one_store(
    model: Any, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_cache, "BLOCK", 8)
    whole = cache_regions(model, mixture, Fixed(), tmp_path / "whole")
    assert cache_regions(model, mixture, Fixed(), tmp_path / "parts", rank=0, world_size=2) is None
    parts = cache_regions(model, mixture, Fixed(), tmp_path / "parts", rank=1, world_size=2)
    assert whole is not None and parts is not None and whole.ids == parts.ids == mixture.ids
    for name, values in whole.lookup(range(len(mixture)), 3).items():
        assert np.array_equal(values, parts.lookup(range(len(mixture)), 3)[name]), name
    assert [whole.regions(row).labels for row in range(20)] == [parts.regions(row).labels for row in range(20)]
    parts.verify()


def test_a_second_run_waits_for_the_first_and_finds_its_work_done(
    model: Any, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, waiting = threading.Event(), threading.Event()
    monkeypatch.setattr(locks, "print", lambda *_, **__: waiting.set(), raising=False)

    class Slow(Fixed):
        asked = 0

        def find(self, images: Any) -> list[Found]:
            self.asked += len(images)
            begun.set()
            assert waiting.wait(60)
            return super().find(images)

    slow, idle, found = Slow(), Slow(), {}
    first = threading.Thread(target=lambda: found.update(a=cache_regions(model, mixture, slow, tmp_path / "store")))
    second = threading.Thread(target=lambda: found.update(b=cache_regions(model, mixture, idle, tmp_path / "store")))
    first.start()
    assert begun.wait(60)
    second.start()
    first.join()
    second.join()
    assert slow.asked == len(mixture) and idle.asked == 0
    assert found["a"].ids == found["b"].ids == mixture.ids


def test_class_names_are_part_of_the_annotations(model: Any, mixture: Mixture, tmp_path: Path) -> None:
    cache_regions(model, mixture, None, tmp_path / "store")

    class Renamed:
        ids = picture_ids = mixture.ids

        def __len__(self) -> int:
            return len(mixture)

        def fingerprint(self) -> str:
            return mixture.fingerprint()

        def __getitem__(self, row: int) -> Any:
            sample = mixture[row]
            assert sample.regions is not None
            regions = dataclasses.replace(sample.regions, labels=tuple(f"not {n}" for n in sample.regions.labels))
            return dataclasses.replace(sample, regions=regions)

    with pytest.raises(UserError, match="the provider: the store has"):
        cache_regions(model, Renamed(), None, tmp_path / "store")  # type: ignore[arg-type]


def test_other_regions_are_refused(model: Any, mixture: Mixture, tmp_path: Path) -> None:
    cache_regions(model, mixture, Fixed(), tmp_path / "store")
    with pytest.raises(UserError, match="min_score: the store has 0.25, now it is 0.5"):
        cache_regions(model, mixture, Fixed(), tmp_path / "store", min_score=0.5)
    with pytest.raises(UserError, match="the provider: the store has"):
        cache_regions(model, mixture, open_provider({"provider": "whole"}), tmp_path / "store")
    other = create_model("petri-tiny-student", seed=1)
    with pytest.raises(UserError, match="the teacher "):
        cache_regions(other, mixture, Fixed(), tmp_path / "store")


def test_a_picture_that_cannot_be_read_is_noted(model: Any, tmp_path: Path) -> None:
    rows = ["filepath,caption"]
    for k in range(4):
        Image.new("RGB", (20, 20), (60 * k, 0, 0)).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,picture {k}")
    (tmp_path / "2.png").write_bytes(b"torn")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    mixture = Mixture([(open_source({"format": "csv", "path": str(tmp_path / "t.csv")}), None)])
    for _ in range(2):  # the limit holds however often it is tried
        with pytest.raises(UserError, match="can't be read"):
            cache_regions(model, mixture, Fixed(), tmp_path / "strict")
    store = cache_regions(model, mixture, Fixed(), tmp_path / "store", max_bad_share=0.5)
    assert store is not None and list(store.bad) == [mixture.ids[2]]
    with pytest.raises(UserError, match="no regions of"):
        store.lookup([2], 2)
    assert store.regions(3).labels == ("b", "a") and store.regions(2).labels == ()
