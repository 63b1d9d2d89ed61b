"""Commands in processes of their own, forked from this one, which has imported everything: no start-up to wait for."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from clipdistill import cli


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code, or minus the signal; what it said on stderr; whether it ran past its limit."""

    code: int
    said: str
    seconds: float
    hung: bool = False

    @property
    def one_line(self) -> bool:
        """Whether the last thing that it said is a line of ours, and no traceback came before it."""
        last = self.said.strip().splitlines()[-1:]
        return bool(last) and last[0].startswith("clipdistill: ") and "Traceback" not in self.said


def run(
    commands: list[list[str]], folder: Path, *, before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None, kill_after: float | None = None, limit: float = 600.0,
) -> Ended:  # fmt: skip
    """Give commands one after the other in a forked process, until one fails.

    Args:
        folder: the working folder; what they print goes beside it. before, after: called in the new process.
        kill_after: seconds until it is killed. limit: seconds after which it counts as hanging.
    """
    said = folder.with_name(folder.name + ".said")
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(commands, folder, said, before, after)
    until = began + (limit if kill_after is None else min(kill_after, limit))
    status = _wait(child, until)
    hung = status is None and kill_after is None
    if status is None:
        os.killpg(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    _end_group(child)
    return Ended(os.waitstatus_to_exitcode(status), said.read_text("utf-8", "replace"), time.monotonic() - began, hung)


def warm(commands: list[list[str]], folder: Path, before: Callable[[], object] | None = None) -> Ended:
    """Run once, and import here what that imported."""
    names = folder.with_name(folder.name + ".modules")
    names.unlink(missing_ok=True)
    found = run(commands, folder, before=before, after=lambda: names.write_text("\n".join(sys.modules)))
    for name in names.read_text().splitlines() if names.is_file() else ():
        if name not in sys.modules and name != "__main__":
            with suppress(Exception):
                import_module(name)
    return found


def _become(
    commands: list[list[str]], folder: Path, said: Path, before: Callable[[], object] | None,
    after: Callable[[], object] | None,
) -> None:  # fmt: skip
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(handle, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        if before is not None:
            before()
        for each in commands:
            code = cli.run(each)
            if code:
                break
        if after is not None:
            after()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, until: float) -> int | None:
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.005)
    return None


def _end_group(child: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # its workers, if it was killed
