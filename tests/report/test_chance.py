"""What guessing gives, and the interval of a share, by hand and from the literature."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest

from clipdistill.evaluate.results import Result
from clipdistill.report.chance import chance_levels, interval


def levels(evaluator: str, data: str, n: int, **facts: object) -> dict[str, float]:
    return chance_levels(Result(evaluator, data, n, {}, dict(facts)))


def test_retrieval_by_guessing() -> None:
    found = levels("retrieval", "d", 4, texts=12)
    assert found["text_to_image/recall@1"] == pytest.approx(1 / 4) and found["text_to_image/recall@5"] == 1
    assert found["image_to_text/recall@1"] == pytest.approx(3 / 12)
    draws = list(combinations(range(12), 5))
    assert found["image_to_text/recall@5"] == pytest.approx(sum(min(one) < 3 for one in draws) / len(draws))
    assert found["image_to_text/recall@10"] == pytest.approx(1)
    folds = levels("retrieval", "d", 20, texts=60, folds=[{}] * 5)
    assert folds == pytest.approx(found)
    assert levels("retrieval", "d", 4) == {}  # an older run, which doesn't say how many texts there were


def test_classes_and_options() -> None:
    assert levels("zero_shot", "d", 9, classes=list("abcdefghij")) == {"top1": 0.1, "mean_per_class": 0.1, "top5": 0.5}
    assert "top5" not in levels("zero_shot", "d", 9, classes=["a", "b"])
    assert levels("snli_ve", "d", 9, classes=["a", "b", "c"])["accuracy"] == pytest.approx(1 / 3)
    assert levels("vcr", "d", 9)["q2ar"] == 1 / 16
    assert levels("aro", "aro/coco_order", 9) == {"accuracy": 0.2} and levels("aro", "aro/relation", 9)["macro"] == 0.5
    assert levels("vqa", "d", 9) == {}


def test_winoground_by_guessing() -> None:
    orders = list(permutations(range(4)))  # of the scores a (picture 0, caption 0), b, c, d
    text = [a > b and d > c for a, b, c, d in orders]
    image = [a > c and d > b for a, b, c, d in orders]
    found = levels("winoground", "winoground", 400)
    assert found["text"] == sum(text) / 24 and found["image"] == sum(image) / 24
    assert found["group"] == pytest.approx(sum(a and b for a, b in zip(text, image, strict=True)) / 24)


def test_wilsons_interval() -> None:
    assert interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)  # Brown, Cai and DasGupta 2001
    assert interval(0, 20) == pytest.approx((0, 0.1611), abs=1e-4) and interval(1, 20) == pytest.approx(
        (0.8389, 1), abs=1e-4
    )
    assert interval(0.5, 0) is None and interval(1.5, 10) is None
