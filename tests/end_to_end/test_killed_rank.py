"""`torchrun` with two processes, one of which is killed, or whose launcher is: none lives on, none hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from conftest import Command

SECONDS = 180
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@contextmanager
def training(recipe: Path, out: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A training without end that has made steps, and its two ranks, the first one first."""
    command = [*LAUNCHER, "-m", "clipdistill.cli", "train", str(recipe), "train.epochs=100000", "--out", str(out)]
    said = open(out.with_name("said"), "w")  # noqa: SIM115 - closed below
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=said, stdout=said, text=True, env=environment, start_new_session=True)
    ranks: list[psutil.Process] = []
    try:
        until = time.monotonic() + SECONDS
        while not (out / "checkpoints").is_dir() or not list((out / "checkpoints").glob("step-*.pt")):
            assert process.poll() is None and time.monotonic() < until, out.with_name("said").read_text()[-2000:]
            time.sleep(0.05)
        ranks = [one for one in psutil.Process(process.pid).children() if "clipdistill.cli" in one.cmdline()]
        ranks.sort(key=lambda one: one.environ()["RANK"])
        assert len(ranks) == 2
        yield process, ranks
    finally:
        for one in (*ranks, *([psutil.Process(process.pid)] if process.poll() is None else [])):
            if one.is_running():
                one.kill()
        process.wait()
        said.close()


def ended(ranks: list[psutil.Process]) -> bool:
    """Whether all of them end in time."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in ranks):
            return True
        time.sleep(0.05)
    return False


def lines(out: Path) -> list[str]:
    """What our processes said, whatever the launcher adds."""
    text = out.with_name("said").read_text()
    return [line[line.index("clipdistill: ") :] for line in text.splitlines() if "clipdistill: " in line]


def test_a_rank_that_is_killed_ends_the_other_with_one_line(command: Command, recipe: Path, tmp_path: Path) -> None:
    """One that hangs is in tests/engine/test_lost_ranks.py: the launcher gives it half a minute to end."""
    out = tmp_path / "run"
    with training(recipe, out) as (launcher, ranks):
        ranks[1].kill()
        assert launcher.wait(SECONDS) != 0
        assert ended(ranks)
    (said,) = lines(out)
    assert "a process that trains with this one has ended" in said
    assert said.endswith("Go on with the same command; a training wants --resume too")
    # With as many processes; one alone is told so.
    again = command("train", recipe, "train.epochs=100000", "--out", out, "--resume")
    assert again.code == 2 and "written by 2 processes; resume with as many" in again.err.strip().splitlines()[-1]


def test_no_rank_outlives_the_launcher(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with training(recipe, out) as (launcher, ranks):
        launcher.kill()
        launcher.wait()
        assert ended(ranks)
    assert any("stopped after step" in line and "--resume" in line for line in lines(out))
