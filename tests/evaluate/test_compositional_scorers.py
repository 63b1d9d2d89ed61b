"""Scores of the compositional benchmarks beside the official scorers' definitions, written down anew, with ties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipdistill.evaluate.compositional.aro import SYMMETRIC, aro_metrics
from clipdistill.evaluate.compositional.captions import by_tag
from clipdistill.evaluate.compositional.groups import Group
from clipdistill.evaluate.compositional.order import measure_order
from clipdistill.evaluate.compositional.winoground import measure_winoground, winoground_metrics


def many(shape: tuple[int, ...], count: int = 400, seed: int = 0) -> list[torch.Tensor]:
    """Scores of so few values that a third of the comparisons are ties."""
    draw = np.random.default_rng(seed)
    return [torch.tensor(draw.integers(0, 3, shape), dtype=torch.float64) for _ in range(count)]


def test_winoground_is_the_official_text_image_and_group_score() -> None:
    scores = many((2, 2))
    official = {"text": 0, "image": 0, "group": 0}
    for s in scores:
        # The official scorer names them c0_i0, c1_i0, ...: rows are pictures here.
        at = {f"c{c}_i{i}": float(s[i, c]) for i in (0, 1) for c in (0, 1)}
        text = at["c0_i0"] > at["c1_i0"] and at["c1_i1"] > at["c0_i1"]
        image = at["c0_i0"] > at["c0_i1"] and at["c1_i1"] > at["c1_i0"]
        for name, hit in (("text", text), ("image", image), ("group", text and image)):
            official[name] += int(hit)
    found = winoground_metrics(scores)
    assert {name: found[name] for name in official} == {name: hits / 400 for name, hits in official.items()}
    argmax = np.mean([(s[0].argmax() == 0).item() + (s[1].argmax() == 1).item() for s in scores]) / 2
    assert found["text_argmax"] == pytest.approx(argmax) and found["text_argmax"] > found["text"]


def test_winoground_by_tag_is_the_score_of_the_tags_items() -> None:
    groups = [Group((), ("a", "b"), tags) for tags in (("Object", "1 main pred"), ("Relation", "1 main pred"))]
    metrics, artifacts = measure_winoground(groups, [torch.eye(2), torch.ones(2, 2)])
    assert (metrics["group"], metrics["group/Object"], metrics["group/Relation"]) == (0.5, 1, 0)
    assert metrics["group/1 main pred"] == 0.5
    assert artifacts["counts"] == {"1 main pred": 2, "Object": 1, "Relation": 1}


def test_aro_is_the_macro_average_of_the_authors_records() -> None:
    """The authors put the false caption first and take argmax: a tie is wrong. The notebook averages the records."""
    draw = np.random.default_rng(1)
    names = ["on", "under", "near", "behind", "next to"]
    tags = [names[k] for k in draw.choice(5, 400, p=[0.5, 0.3, 0.1, 0.04, 0.06])]
    groups = [Group((), ("true", "false"), (tag,)) for tag in tags]
    scores = many((1, 2))
    right = np.array([np.argmax(s[0].flip(0).numpy()) == 1 for s in scores])
    by_class = {name: right[[tag == name for tag in tags]] for name in names}
    kept = [hits.mean() for name, hits in by_class.items() if name not in ("near", "next to")]
    assert aro_metrics(groups, scores)["macro"] == pytest.approx(np.mean(kept))
    assert aro_metrics(groups, scores)["accuracy"] == pytest.approx(right.mean())
    # VG-Attribution drops what has fewer than 25 cases.
    assert 0 < len(by_class["behind"]) < 25
    common = [by_class[name].mean() for name in ("on", "under")]
    assert aro_metrics(groups, scores, 25)["macro"] == pytest.approx(np.mean(common))


def test_aro_macro_average_worked_out() -> None:
    # on: 3 of 4; under: 0 of 1 (a tie); near is symmetric. Macro (3/4 + 0) / 2, over all cases 5/7.
    rows = [("on", 1.0)] * 3 + [("on", -1.0), ("under", 0.0)] + [("near", 1.0)] * 2
    groups = [Group((), ("true", "false"), (tag,)) for tag, _ in rows]
    found = aro_metrics(groups, [torch.tensor([[margin, 0.0]]) for _, margin in rows])
    assert found == {"accuracy": 5 / 7, "macro": 0.375, "accuracy/on": 0.75, "accuracy/under": 0}


def test_the_symmetric_relations_are_those_of_the_authors_notebook() -> None:
    assert len(SYMMETRIC) == 157
    assert {"near", "next to", "around", "wrapped in", "going through", "sitting under"} <= SYMMETRIC
    assert not {"on", "in", "behind", "above", "to the left of", "wearing", "holding", "riding"} & SYMMETRIC


def test_order_is_precision_at_1_in_which_a_tie_goes_to_the_true_caption() -> None:
    scores = many((1, 5))
    groups = [Group((), ("a", "b", "c", "d", "e"))] * 400
    metrics, artifacts = measure_order(groups, scores)
    assert metrics["accuracy"] == pytest.approx(np.mean([np.argmax(s[0].numpy()) == 0 for s in scores]))
    strict = np.mean([s[0, 0].item() > s[0, 1:].max().item() for s in scores])
    assert metrics["accuracy_strict"] == pytest.approx(strict) and strict < metrics["accuracy"]
    assert artifacts == {"unchanged": 0}
    same = measure_order([Group((), ("a dog", "a dog"))], [torch.ones(1, 2)])
    assert same == ({"accuracy": 1.0, "accuracy_strict": 0.0}, {"unchanged": 1})


def test_sugarcrepe_is_the_share_with_the_true_caption_strictly_above() -> None:
    scores, kinds = many((1, 2)), ["swap_att", "add_obj"] * 200
    metrics, artifacts = by_tag([Group((), ("t", "f"), (kind,)) for kind in kinds], scores)
    for kind in ("swap_att", "add_obj"):
        own = [float(s[0, 0]) > float(s[0, 1]) for s, tag in zip(scores, kinds, strict=True) if tag == kind]
        assert metrics[f"accuracy/{kind}"] == pytest.approx(np.mean(own))
    assert artifacts["counts"] == {"swap_att": 200, "add_obj": 200}
