"""Speeds side by side: every model in every round, and no ratio of rounds that disagree."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from clipdistill.evaluate import speed
from clipdistill.evaluate.speed import side_by_side, times_as_fast


def test_models_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])

    def step(name: str, seconds: float) -> Any:
        def run() -> None:
            clock[0] += 50 if len(order) < 2 else seconds  # warming up is slow
            order.append(name)

        return run

    models = {"teacher": (nn.Linear(1, 1), step("t", 0.8)), "student": (nn.Linear(1, 1), step("s", 0.2))}
    found = side_by_side(models, "cpu", 16)
    assert order == ["t", "s"] * 6  # one to warm up and five, in which the two seconds went by
    assert found["student"]["images_per_second"] == pytest.approx(80)
    assert found["teacher"]["speed"] == {"pictures": 16, "seconds": pytest.approx([0.8] * 5)}
    assert times_as_fast(found["student"]["speed"], found["teacher"]["speed"]) == pytest.approx((4, 4, 4))


def test_a_ratio_needs_rounds_of_one_batch_that_agree() -> None:
    own = {"pictures": 16, "seconds": [0.1] * 8}
    slow_once = {"pictures": 16, "seconds": [0.4] * 7 + [9.0]}
    assert times_as_fast(own, slow_once) == pytest.approx((4, 4, 4))
    assert times_as_fast(own, {"pictures": 16, "seconds": [0.1, 0.9] * 4}) is None
    assert times_as_fast(own, {"pictures": 64, "seconds": [0.4] * 8}) is None
    assert times_as_fast(own, {"pictures": 16, "seconds": [0.4] * 4}) is None
    assert times_as_fast(own, {}) is None
