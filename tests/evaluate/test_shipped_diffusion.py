"""The diffusion model that comes with the package is what its provenance says, and knows what goes with what."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from clipdistill.evaluate.compositional.winoground import read_winoground, winoground_metrics
from clipdistill.evaluate.diffusion_score import DiffusionScore
from clipdistill.models.diffusion import load_diffusion
from clipdistill.models.named import WEIGHTS_FOLDER
from clipdistill.petri import write_world

FOLDER = WEIGHTS_FOLDER / "petri-diffusion"


def test_its_weights_are_those_of_its_provenance_and_few() -> None:
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    provenance = json.loads((FOLDER / "provenance.json").read_text())
    assert provenance["fingerprint"] == digest.hexdigest()
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 20 * 2**20
    model = load_diffusion("petri-diffusion")
    assert model.frozen and {p.dtype for p in model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in model.parameters()) == provenance["parameters"]


def test_it_tells_swapped_attributes_apart_in_a_world_that_it_never_saw(tmp_path: Path) -> None:
    write_world(
        tmp_path / "world", images=1, val=0, test=1, seed=77, scenes="pairs", skew="natural", compositional=24,
        formats=("winoground",),
    )  # fmt: skip
    groups = [group for group in read_winoground(tmp_path / "world" / "winoground") if "Object" in group.tags]
    scores = DiffusionScore(load_diffusion("petri-diffusion"), samples=8, batch_size=64).scores(groups)
    # Chance is 1/2; over 300 other swaps the choices were right in 96 %.
    assert len(groups) == 8 and winoground_metrics(scores)["text_argmax"] >= 0.8
