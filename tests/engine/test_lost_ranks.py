"""A rank that is killed, fails or hangs: the others end with one line, and none outlives the launcher."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from clipdistill.engine.distributed import Ranks, _end_with_the_launcher
from clipdistill.errors import UserError

SECONDS = 60


def forked(work: Callable[[], None], said: Path) -> int:
    """A process that does some work and writes down the one line that it ends with."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.set_num_threads(1)
        work()
        code = 0
    except UserError as error:
        said.write_text(str(error))
        code = 2
    except BaseException:
        said.write_text(traceback.format_exc())
    finally:
        sys.stdout.flush()
        os._exit(code)


def code_of(child: int) -> int:
    """Its exit code; fails when it doesn't end."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("it hangs")


def exchanging(folder: Path, rank: int, exchange: Callable[[Ranks], object]) -> Callable[[], None]:
    """A rank of two that exchanges until something ends it; the other one stops or dies after its first exchange."""

    def work() -> None:
        meeting = f"file://{folder}/meeting"
        wait = timedelta(seconds=float(os.environ.get("CLIPDISTILL_WAIT_RANKS", SECONDS)))
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=wait)
        ranks = Ranks(rank, 2, torch.device("cpu"))
        ranks.barrier()
        (folder / f"met-{rank}").touch()
        while rank == 0:
            exchange(ranks)
        signal.pause()

    return work


EXCHANGES: dict[str, Callable[[Ranks], object]] = {
    "barrier": Ranks.barrier,
    "any": lambda ranks: ranks.any(False),
    "objects": lambda ranks: ranks.objects(1),
    "mean": lambda ranks: ranks.mean(torch.ones(2)),
    "gather": lambda ranks: ranks.gather(torch.ones(2)),
    "broadcast": lambda ranks: (ranks.broadcast_module(torch.nn.Linear(2, 2)), ranks.barrier()),
}


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_the_other_rank_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, exchange: str
) -> None:
    if sent == signal.SIGSTOP:
        monkeypatch.setenv("CLIPDISTILL_WAIT_RANKS", "1")
    lost = forked(exchanging(tmp_path, 1, EXCHANGES[exchange]), tmp_path / "1")
    first = forked(exchanging(tmp_path, 0, EXCHANGES[exchange]), tmp_path / "0")
    try:
        until = time.monotonic() + SECONDS
        while not (tmp_path / "met-1").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(lost, sent)
        assert code_of(first) == 2, (tmp_path / "0").read_text()
    finally:
        os.kill(lost, signal.SIGKILL)
        os.waitpid(lost, 0)
    said = (tmp_path / "0").read_text()
    assert said.lower().endswith("go on with the same command; a training wants --resume too") and "\n" not in said
    if sent == signal.SIGSTOP:
        assert "hasn't answered for 1 seconds (CLIPDISTILL_WAIT_RANKS sets how many)" in said
    else:
        assert "a process that trains with this one has ended" in said


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(dist, "barrier", wrong)
    with pytest.raises(RuntimeError, match="mat1"):
        Ranks(0, 2, torch.device("cpu")).barrier()


def test_a_rank_is_stopped_when_its_launcher_is_killed(tmp_path: Path) -> None:
    def rank() -> None:
        signals: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
        for _ in range(3):  # once a process, however often it is asked
            _end_with_the_launcher(every=0.02)
        (tmp_path / "pid.tmp").write_text(str(os.getpid()))
        (tmp_path / "pid.tmp").rename(tmp_path / "pid")
        while not signals:
            time.sleep(0.02)
        time.sleep(0.2)
        (tmp_path / "signals").write_text(str(signals))

    def launcher() -> None:
        threads = [threading.Thread(target=signal.pause, daemon=True) for _ in range(3)]
        forked(rank, tmp_path / "rank")
        for each in threads:  # as torchrun has some: the system tells a child of the end of each
            each.start()
        signal.pause()

    started = forked(launcher, tmp_path / "launcher")
    until = time.monotonic() + SECONDS
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    number = int((tmp_path / "pid").read_text())
    os.kill(started, signal.SIGKILL)
    os.waitpid(started, 0)
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.01)
    assert (tmp_path / "signals").read_text() == str([int(signal.SIGTERM)])
