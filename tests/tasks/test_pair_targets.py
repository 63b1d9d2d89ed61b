"""Targets of a meta-teacher: from a pair store and live, the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from clipdistill.data import Mixture, open_source
from clipdistill.data.fields import Draw, Regions
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.meta_teacher import MetaTeacher
from clipdistill.models.regions import open_provider
from clipdistill.petri import write_world
from clipdistill.stores.pairs import cache_pairs
from clipdistill.stores.region_cache import cache_regions
from clipdistill.tasks.teacher import LiveTeacher, StoredTeacher


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_cached_targets_are_the_live_ones_caption_by_caption(variant: str, tmp_path: Path) -> None:
    write_world(tmp_path / "world", images=6, val=1, test=1, seed=0, image_size=32, formats=("karpathy",))
    mixture = Mixture([(open_source(f"karpathy:{tmp_path / 'world' / 'dataset_petri.json'}@train"), None)])
    base = create_model("petri-tiny-student", seed=0).eval()
    provider = open_provider({"provider": "grid", "rows": 2, "columns": 2})
    regions = cache_regions(base, mixture, provider, tmp_path / "regions")
    assert regions is not None
    torch.manual_seed(0)
    meta = MetaTeacher(base.embed_dim, heads=2, variant=variant).eval()  # type: ignore[arg-type]
    store = cache_pairs(meta, base, regions, mixture, tmp_path / "pairs", batch_size=5)
    assert store is not None
    mixture.regions = regions
    seen_regions, words = Regions(mixture), LiveTeacher(base, features="tokens")
    stored = StoredTeacher(store, mixture.ids)
    sample, caption = torch.tensor([3, 0, 3]), torch.tensor([0, 1, 2])
    texts = [mixture[int(s)].captions[int(c)] for s, c in zip(sample, caption, strict=True)]
    batch = {
        "sample": sample, "caption": caption, "view": torch.zeros(3, dtype=torch.int64),
        "text/teacher0": base.tokenizer(texts),
    }  # fmt: skip
    draws = [Draw(0, int(s), 0, 0, int(c)) for s, c in zip(sample, caption, strict=True)]
    rows = [seen_regions.row(mixture[draw.position], draw) for draw in draws]
    seen, found = {**seen_regions.collate(rows), **words.targets(batch)}, stored.targets(batch)
    with torch.no_grad():
        expected = {"image": meta(*meta.inputs(seen)), "text": seen["text"]}
    for name in ("image", "text"):  # half precision on the disk
        torch.testing.assert_close(found[name], normalize(expected[name], dim=1), atol=1e-3, rtol=0)
    assert not torch.equal(found["image"][0], found["image"][2])  # one picture, two captions


def test_targets_of_other_regions_are_refused(tmp_path: Path) -> None:
    write_world(tmp_path / "world", images=3, val=1, test=1, seed=0, image_size=32, formats=("karpathy",))
    mixture = Mixture([(open_source(f"karpathy:{tmp_path / 'world' / 'dataset_petri.json'}@train"), None)])
    base = create_model("petri-tiny-student", seed=0).eval()
    meta = MetaTeacher(base.embed_dim, heads=2).eval()
    grid, whole = (
        cache_regions(base, mixture, open_provider({"provider": name}), tmp_path / name) for name in ("grid", "whole")
    )
    assert grid is not None and whole is not None
    cache_pairs(meta, base, grid, mixture, tmp_path / "pairs")
    with pytest.raises(UserError, match="the regions"):
        cache_pairs(meta, base, whole, mixture, tmp_path / "pairs")
