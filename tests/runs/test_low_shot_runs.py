"""Low-shot sources of a run: what is trained on, what regions are found for, and names of pictures that don't shift."""

from __future__ import annotations

from pathlib import Path

from clipdistill.petri import write_world
from clipdistill.recipe import Recipe
from clipdistill.runs.data import open_mixture


def test_pictures_keep_the_names_of_the_whole(tmp_path: Path) -> None:
    """Two worlds have other pictures of the same names. Which is meant may not hang on which of them were drawn."""
    sources = []
    for seed in (1, 2):
        write_world(tmp_path / str(seed), images=8, val=1, test=1, seed=seed, formats=("snli_ve",), image_size=32)
        path = str(tmp_path / str(seed) / "snli_ve")
        sources.append({"format": "snli_ve", "path": path, "split": "train", "name": f"w{seed}", "low_shot": 3})
    recipe = {"name": "t", "student": "petri-uniter", "task": {"method": "snli_ve"}, "data": {"train": sources}}
    for seed in range(4):
        data = open_mixture(Recipe.model_validate({**recipe, "seed": seed}))
        names = dict(zip(data.whole.ids, data.whole.picture_ids, strict=True))
        assert len(data.mixture) == 6 and len(data.whole) == 48 and [one.total for one in data.draws] == [3, 3]
        assert data.mixture.picture_ids == [names[one] for one in data.mixture.ids]
        own = [name for one, name in names.items() if one.startswith("w2/")]
        assert all(name.startswith("w2/") for name in own)
