"""A study that waits for runs elsewhere: when none ends for too long, it says so and how it goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipdistill.errors import Interrupted
from clipdistill.runs.engines import ray_engine, slurm_engine
from clipdistill.runs.engines.ray_engine import RayEngine
from clipdistill.runs.jobs import Job
from clipdistill.studies.resources import Resources


class SilentRay:
    """A cluster that takes runs, none of which ever ends."""

    def __init__(self) -> None:
        self.waited: list[float | None] = []
        self.cancelled: list[Any] = []

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 8.0}}]

    def remote(self, **_: Any) -> Any:
        task = SimpleNamespace(remote=lambda _work: object())
        return lambda _function: SimpleNamespace(options=lambda **_: task)

    def wait(self, waiting: list[Any], num_returns: int, timeout: float | None = None) -> tuple[list[Any], list[Any]]:
        assert timeout is not None, "without a limit"
        self.waited.append(timeout)
        return [], waiting

    def cancel(self, each: Any) -> None:
        self.cancelled.append(each)


def test_runs_with_ray_none_of_which_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPDISTILL_WAIT_STUDY", "3")
    ray, recipe = SilentRay(), SimpleNamespace(seed=0)
    jobs = [Job("a, seed 0", recipe, tmp_path / "a", resources=Resources())]  # type: ignore[arg-type]
    monkeypatch.setattr(ray_engine.Work, "of", lambda *_: None)
    said = r"^no run has ended for 3 seconds \(CLIPDISTILL_WAIT_STUDY sets how many\); see .*; 1 of 1 runs aren't done$"
    with pytest.raises(Interrupted, match=said):
        RayEngine(ray, {}).run(jobs, tmp_path)
    assert ray.waited == [3.0, ray_engine.GRACE_SECONDS] and len(ray.cancelled) == 1


def test_runs_with_slurm_none_of_which_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPDISTILL_WAIT_STUDY", "3")
    now = [0.0]
    monkeypatch.setattr(slurm_engine.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(slurm_engine.time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    given = SimpleNamespace(numbers={"a": "1"}, account=lambda: [], outcome=SimpleNamespace(failed={}))
    with pytest.raises(Interrupted, match=r"^no run has ended for 3 seconds .*; 1 runs stay with Slurm$"):
        slurm_engine._wait(given)  # type: ignore[arg-type]
