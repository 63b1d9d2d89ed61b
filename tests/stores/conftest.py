from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_teacher import PLAN, Pictures, TinyTeacher

from clipdistill.data import AugmentPlan, Mixture
from clipdistill.stores import TeacherStore, cache_teacher
from clipdistill.stores import cache as cache_module


@pytest.fixture
def teacher() -> TinyTeacher:
    return TinyTeacher().eval()


@pytest.fixture
def mixture() -> Mixture:
    return Mixture([(Pictures(21), None)], seed=0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "BLOCK_ROWS", 8)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., TeacherStore]:
    """cache_teacher with the arguments that these tests don't care about; returns the finished store."""

    def run(model: Any, mixture: Mixture, folder: str = "store", plan: AugmentPlan = PLAN, **options: Any) -> Any:
        options = {"batch_size": 4, "fingerprint": "weights-0", **options}
        return cache_teacher(model, mixture, plan, tmp_path / folder, **options)

    return run
