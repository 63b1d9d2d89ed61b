"""Students that standardise region features: by hand, once, never by a forecast's stand-in, and kept when saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from question_files import vcr_item, write_vcr

from clipdistill.data import Mixture, open_source
from clipdistill.models import create_model
from clipdistill.models.fusion import create_fusion
from clipdistill.models.fusion.embeddings import Standardised
from clipdistill.models.fusion.saving import load_fusion, save_fusion
from clipdistill.stores.region_cache import cache_regions
from clipdistill.stores.regions import DryRegions
from clipdistill.tasks.standardising import fit_features


def test_by_hand() -> None:
    """Channels 1, 3 and 0, 0.02 and 7, 7 have deviations 1, 0.01 and 0; the median of these is 0.01."""
    layer = Standardised(3)
    seen = torch.tensor([[1.0, 0.0, 7.0], [3.0, 0.02, 7.0]])
    assert torch.equal(layer(seen), seen)
    layer.fit(seen)
    assert layer.scale.tolist() == pytest.approx([1.0, 0.01, 0.001])
    torch.testing.assert_close(layer(seen), torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]]))
    layer.fit(seen * 5)
    assert layer.mean.tolist() == pytest.approx([2, 0.01, 7])


@pytest.mark.parametrize("name", ["petri-uniter-tags", "petri-vl-bert"])
def test_the_first_training_data_decides(name: str, tmp_path: Path) -> None:
    data = Mixture([(open_source({"format": "vcr", "path": write_vcr(tmp_path, [vcr_item(0)])}), None)])
    model = create_fusion(name, 0, region_width=create_model("petri-tiny-student", seed=0).embed_dim)
    width = model.config.region_width
    data.regions = DryRegions(width, 4)
    fit_features(model, data)
    assert not model.embeddings.standard.fitted
    data.regions = cache_regions(create_model("petri-tiny-student", seed=0).eval(), data, None, tmp_path / "regions")
    fit_features(model, data)
    features = torch.as_tensor(data.regions.lookup([0], 4)["features"][0])
    torch.testing.assert_close(model.embeddings.standard.mean, features.mean(0))
    save_fusion(model, tmp_path / "model", torch.float16)
    again = load_fusion(tmp_path / "model")
    assert again.embeddings.standard.fitted and again.embeddings.words.weight.dtype == torch.float32
    torch.testing.assert_close(again.embeddings.standard.mean, features.mean(0), atol=1e-3, rtol=1e-3)
