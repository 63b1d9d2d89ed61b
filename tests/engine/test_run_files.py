"""metrics.jsonl and bad_samples.jsonl over kills and resumes: whole, and each thing said once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from test_trainer import TinyLoader, stop_at, trainer

from clipdistill.engine.tracking import Metrics, read_metrics


def test_a_kill_while_metrics_are_cut_back_loses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"step": step, "loss": 1.0, "seconds": float(step)} for step in range(1, 9)]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(content)

    def killed(_from: str, _to: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Metrics(tmp_path, [], {}, step=5)
    assert (tmp_path / "metrics.jsonl").read_text() == content
    metrics = Metrics(tmp_path, [], {}, step=5)
    assert read_metrics(metrics.path) == lines[:5] and metrics.seconds_before == 5.0


def test_damaged_lines_end_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = b'{"step": 1}\n{"loss": 2}\n'
    for bad in (b'{"step": 3', b"[1, 2]\n", b'\xff\xfe{"step": 4}\n', b"3\n"):
        path.write_bytes(good + bad + b'\n{"step": 9}\n')
        assert read_metrics(path) == [{"step": 1}, {"loss": 2}]
    assert Metrics(tmp_path, [], {}, step=2).seconds_before == 0.0


def test_bad_samples_of_a_try_without_a_checkpoint_are_listed_once(tmp_path: Path) -> None:
    one = {"id": "a/1", "reason": "cut off"}

    def made(batch: int) -> object:
        return trainer(tmp_path / "run", TinyLoader(bad={batch: [one]}), samples=1000, checkpoint_every=100)

    with pytest.raises(KeyboardInterrupt):
        made(0).fit(on_step=stop_at(3))
    made(0).fit(resume=True)
    lines = (tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [one]
