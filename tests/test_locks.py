"""Locks between real processes: refused, waited for, gone with a killed holder even when its workers live on."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipdistill.errors import UserError
from clipdistill.locks import hold

HOLDS = """
import sys
from clipdistill.locks import hold
lock = hold(sys.argv[1], "busy", wait=sys.argv[2] == "wait")
print("held", flush=True)
sys.stdin.read()
"""

HOLDS_WITH_WORKER = """
import os, sys
from clipdistill.locks import hold
lock = hold(sys.argv[1], "busy", wait=False)
if os.fork() == 0:
    print("worker", flush=True)
    sys.stdin.read()
    print("the worker lived until here", flush=True)
    os._exit(0)
os.waitpid(-1, 0)
"""


def start(script: str, path: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_another_process_is_refused_in_one_line_until_this_one_lets_go(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with start(HOLDS, path, "refuse") as other:
        assert line(other) == "held"
        with pytest.raises(UserError, match="^runs/a: another process is training into it$"):
            hold(path, "runs/a: another process is training into it", wait=False)
        other.communicate("")
    with hold(path, "busy", wait=False), pytest.raises(UserError, match="busy"):  # one process twice is no different
        hold(path, "busy", wait=False)
    hold(path, "busy", wait=False).release()


def test_another_process_waits_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    mine = hold(path, "mine", wait=False)
    with start(HOLDS, path, "wait") as other:
        assert line(other) == "busy; waiting for it"
        mine.release()
        assert line(other) == "held"
        other.communicate("")


def test_a_killed_holder_leaves_no_lock_though_its_worker_lives_on(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with start(HOLDS_WITH_WORKER, path) as holder:
        assert line(holder) == "worker"
        with pytest.raises(UserError, match="busy"):  # the worker's end of it changed nothing for the parent
            hold(path, "busy", wait=False)
        holder.kill()
        holder.wait()
        hold(path, "busy", wait=False).release()
        assert holder.stdin is not None
        holder.stdin.close()
        assert line(holder) == "the worker lived until here"


def test_a_file_system_without_locks_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with hold(tmp_path / ".lock", "busy", wait=False), hold(tmp_path / ".lock", "busy", wait=True):
        pass


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    hold(tmp_path / "new" / ".lock", "busy", wait=True).release()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"\.lock: can't be written .*; choose another folder"):
        hold(tmp_path / "file" / ".lock", "busy", wait=True)
