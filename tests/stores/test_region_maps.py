"""Regions of a map: one look at each picture, features of its boxes, told apart from those of crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipdistill.data import ImageView, Mixture, open_source
from clipdistill.data.transforms import apply
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.feature_maps import pool_boxes
from clipdistill.models.regions import Found, open_provider
from clipdistill.stores.region_boxes import BoxFinder
from clipdistill.stores.region_cache import cache_regions, write_regions
from clipdistill.stores.region_maps import MapRegions
from clipdistill.stores.regions import RegionStore

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Any:
    return create_model("petri-teacher-small", seed=0).eval()


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    rows = ["filepath,caption"]
    for k, size in enumerate([(60, 30), (30, 60), (64, 64), (20, 20), (31, 47)]):
        pixels = np.random.default_rng(k).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,noise {k}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    return Mixture([(open_source({"format": "csv", "path": str(tmp_path / "t.csv")}), None)])


def maker(model: Any, **changes: Any) -> MapRegions:
    grid = open_provider({"provider": "grid", "rows": 3, "columns": 3})
    return MapRegions(model, CPU, grid, **{"min_score": 0.25, "max_regions": 9, **changes})


def test_features_are_what_lies_under_the_boxes(model: Any, mixture: Mixture, tmp_path: Path) -> None:
    seen, image_map = [], model.image_map
    model.image_map = lambda pixels, level: seen.append(len(pixels)) or image_map(pixels, level)
    try:
        store = write_regions(maker(model, batch_size=2), mixture, tmp_path / "store")
    finally:
        del model.image_map
    assert seen == [2, 2, 1]  # a picture once, whatever its nine regions
    assert store is not None and store.meta["embed_dim"] == 64 * 4
    image = mixture[1].image.open()  # 60 x 30, squeezed whole to the square that the model sees
    view = ImageView.from_preprocess(model.preprocess)
    pixels = apply(image.resize(view.size[::-1], Image.Resampling.BICUBIC), None, view)
    with torch.no_grad():
        expected = pool_boxes(
            model.image_map(pixels[None], 1), torch.tensor([[1 / 3, 0, 2 / 3, 1 / 3]]), torch.zeros(1)
        )
    looked = store.lookup([1], 9)
    assert image.size == (60, 30) and looked["boxes"][0, 1].tolist() == [20, 0, 40, 10]
    np.testing.assert_allclose(looked["features"][0, 1], expected[0].numpy(), rtol=2e-3, atol=2e-3)


def test_neither_the_batch_nor_the_ranks_change_them(model: Any, mixture: Mixture, tmp_path: Path) -> None:
    stores = [write_regions(maker(model, batch_size=size), mixture, tmp_path / str(size)) for size in (1, 64)]
    first, second = (store.lookup(range(5), 9)["features"] for store in stores if store is not None)
    np.testing.assert_allclose(first, second, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"level": 2}, "map 2 .128x8x8., 2x2 bins"), ({"bins": 1}, "1x1 bins"), ({"pad": 1.5}, "pad 1.5")],
)
def test_what_made_them_is_told_apart(
    model: Any, mixture: Mixture, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    write_regions(maker(model), mixture, tmp_path / "store")
    with pytest.raises(UserError, match=f"how boxes become features: the store has map 1.*now it is .*{words}"):
        write_regions(maker(model, **change), mixture, tmp_path / "store")
    grid = open_provider({"provider": "grid", "rows": 3, "columns": 3})
    with pytest.raises(UserError, match="how boxes become features: the store has map 1.*now it is resize"):
        cache_regions(model, mixture, grid, tmp_path / "store", max_regions=9)
    assert RegionStore.open(tmp_path / "store").meta["crop"] == "map 1 (64x16x16), 2x2 bins, pad 1.1"


def test_numbers_that_half_precision_cannot_hold_are_refused(model: Any, mixture: Mixture, tmp_path: Path) -> None:
    image_map = model.image_map
    model.image_map = lambda pixels, level: image_map(pixels, level) + 1e6
    try:
        with pytest.raises(UserError, match="`level`: map 1 of 'petri-teacher-small' has numbers beyond 65,504"):
            write_regions(maker(model), mixture, tmp_path / "store")
    finally:
        del model.image_map


def test_the_whole_picture_stands_before_the_others_where_it_is_asked_for() -> None:
    found = Found(np.array([[0.0, 0.0, 4.0, 4.0], [2.0, 2.0, 6.0, 6.0]]), np.array([0.5, 0.9]), ("a", "b"))
    finder = BoxFinder(None, 0.25, 1, whole=True)
    boxes, scores, names = finder.chosen(found, (8, 6))
    assert (
        boxes.tolist() == [[0, 0, 8, 6], [2, 2, 6, 6]] and scores.tolist() == [1.0, 0.9] and names == ["picture", "b"]
    )
    assert finder.most == 2 and BoxFinder(None, 0.25, 1).most == 1
    nothing = finder.chosen(None, (8, 6))
    assert nothing[0].tolist() == [[0, 0, 8, 6]] and nothing[2] == ["picture"]
