"""A plan's time counts the evaluation: every suite on a small part of its data, scaled to the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clipdistill.evaluate.suites import SUITES, find_suite, open_suite
from clipdistill.evaluate.suites.base import Suite
from clipdistill.evaluate.suites.timing import TIMED, suite_cost
from clipdistill.models import create_model
from clipdistill.petri import write_world

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecast") / "world"
    write_world(
        folder, images=8, val=4, test=40, zero_shot=2, compositional=20,
        formats=("karpathy", "imagefolder", "winoground"),
    )  # fmt: skip
    return folder


class Slow:
    """A model whose pictures and texts take a set time each, on a clock of its own."""

    def __init__(self, clock: list[float]) -> None:
        self.model, self.clock = create_model("petri-tiny-student", seed=0), clock
        self.seen = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def train(self, mode: bool = True) -> Slow:
        self.model.train(mode)
        return self

    def to(self, device: Any) -> Slow:
        return self

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        self.clock[0] += 1.0 * len(pixels)
        self.seen += len(pixels)
        return self.model.encode_image(pixels)

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        self.clock[0] += 0.01 * len(tokens)
        return self.model.encode_text(tokens)


def test_pictures_and_texts_are_scaled_each_by_their_own_number(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("clipdistill.evaluate.suites.timing.time.perf_counter", lambda: clock[0])
    suite = find_suite("petri")
    evaluation = open_suite(suite, str(world), suite.read_options({}))
    model = Slow(clock)
    cost = suite_cost(evaluation, model, CPU)
    tested, parts = evaluation.opened.test, evaluation.opened.classes
    pictures = len(tested) + sum(len(part.source) for part in parts)
    texts = sum(len(tested[row].captions) for row in range(len(tested)))
    texts += sum(len(part.classes) * len(part.templates) for part in parts)
    assert cost is not None and cost.a_picture == pytest.approx(1.0)
    assert cost.seconds == pytest.approx(pictures + 0.01 * texts, rel=0.01)
    assert model.seen < pictures  # a small part was run


@pytest.mark.parametrize("name", ["retrieval", "zero_shot", "compositional", "likeness"])
def test_each_suite_runs_in_part(world: Path, name: str) -> None:
    data = {
        "retrieval": f"karpathy:{world}/dataset_petri.json@test",
        "zero_shot": str(world / "zero_shot" / "seen"),
        "compositional": str(world),
        "likeness": f"karpathy:{world}/dataset_petri.json@test",
    }[name]
    suite = find_suite(name)
    options = suite.read_options({"pool": "none"} if name == "likeness" else {})
    evaluation = open_suite(suite, data, options)
    model, teacher = create_model("petri-tiny-student", seed=0), create_model("petri-tiny-student", seed=1)
    cost = suite_cost(evaluation, model, CPU, teachers={"teacher": teacher})
    assert cost is not None and cost.seconds > 0
    trial = suite.trial(evaluation.opened, options, "dual_encoder", 5)
    assert trial is not None and trial.larger > 1
    results = replace(evaluation, opened=trial.opened, options=trial.options).run(model, teachers={"teacher": teacher})
    assert max(result.n for result in results) <= 5 * len(results)


def test_every_suite_can_be_timed() -> None:
    assert not [name for name, suite in SUITES.items() if type(suite).trial is Suite.trial]
    assert TIMED > 1
