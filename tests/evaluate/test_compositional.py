"""Compositional benchmarks: a worked tie, CLEVR's captions, and the petri split end to end."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from clipdistill.evaluate.compositional.aro import read_aro
from clipdistill.evaluate.compositional.captions import clevr_pairs
from clipdistill.evaluate.compositional.winoground import read_winoground, winoground_metrics
from clipdistill.petri import write_world
from clipdistill.petri.compositional import pair_caption, swaps
from clipdistill.petri.scenes import SceneRules


def test_ties_fail_the_strict_scores_and_not_the_argmax() -> None:
    right, tie = torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.ones(2, 2)
    assert set(winoground_metrics([right]).values()) == {1.0}
    found = winoground_metrics([right, tie])
    assert (found["text"], found["image"], found["group"], found["text_argmax"]) == (0.5, 0.5, 0.5, 0.75)


def test_clevr_pair() -> None:
    sides: dict[str, list[list[int]]] = {"left": [[], [0]], "right": [[1], []], "front": [[], []], "behind": [[], []]}
    things = [{"color": "red", "shape": "cube"}, {"color": "blue", "shape": "sphere"}]
    found = {kind: texts for kind, *texts in clevr_pairs({"objects": things, "relationships": sides})}
    assert found["relation left"] == [
        "a red cube to the left of a blue sphere",
        "a blue sphere to the left of a red cube",
    ]
    assert found["attribute"][1] == "a blue cube and a red sphere"


def test_petri_swaps_have_the_same_words_and_are_read_back(tmp_path: Path) -> None:
    for swap in swaps(SceneRules(), 0, 6):
        a, b = swap.captions
        assert sorted(a.split()) == sorted(b.split()) and a != b and swap.scenes[0] != swap.scenes[1]
        assert (pair_caption(swap.scenes[0]), pair_caption(swap.scenes[1])) == (a, b)
    sizes = {"images": 2, "val": 1, "test": 1, "image_size": 16, "zero_shot": 1}
    world = tmp_path / "w"
    write_world(world, formats="karpathy,winoground,aro", compositional=6, scenes="pairs", skew="natural", **sizes)  # type: ignore[arg-type]
    groups = read_winoground(world / "winoground")
    assert len(groups) == 6 and groups[0].images[1].open().size == (16, 16)
    assert len(read_aro(world / "aro", "relation")) == len(read_aro(world / "aro", "attribution")) == 4
    assert json.loads((world / "world.json").read_text())["options"]["scenes"] == "pairs"
