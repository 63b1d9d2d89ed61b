"""File-system events of a process, counted: at the k-th it kills itself, or the call fails.

An event is whatever changes a watched folder, before it does: a file opened for writing, renamed or deleted, a folder
made or deleted, a file made safe on the disk (fsync). Python's audit hooks tell of all but the last.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod")

Act = Callable[[int, str, str], None]
"""What is done at an event: its number from 1, what it is, the path."""


def watch(folder: str, act: Act) -> None:
    """Call `act` at each event below `folder` from now on, in this process and in none that it forks."""
    count, owner = 0, os.getpid()

    def event(what: str, path: str) -> None:
        nonlocal count
        if os.getpid() == owner and (path == folder or path.startswith(folder + os.sep)):
            count += 1
            act(count, what, path)

    def hook(name: str, given: tuple[Any, ...]) -> None:
        if name == "open":
            path, mode, flags = given
            writing = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & WRITES)
            if writing and isinstance(path, str | bytes | os.PathLike):
                event("open", os.path.abspath(os.fsdecode(path)))
        elif name in CHANGES and isinstance(given[0], str | bytes | os.PathLike):
            where = given[1] if name == "os.rename" else given[0]
            event(name.removeprefix("os."), os.path.abspath(os.fsdecode(where)))

    fsync = os.fsync

    def watched(handle: int) -> None:
        event("fsync", os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    os.fsync = watched
    sys.addaudithook(hook)


def killed_at(number: int) -> Act:
    """Die at that event."""

    def act(count: int, _what: str, _path: str) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def failing_at(number: int, code: int, lasting: bool) -> Act:
    """Raise the OSError of that code at that event; `lasting`: and at all that follow."""

    def act(count: int, _what: str, path: str) -> None:
        if count == number or lasting and count > number:
            raise OSError(code, os.strerror(code), path)

    return act


def noted(into: str) -> Act:
    """Write the events down, a line each, into a file outside the watched folder."""
    handle = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def act(_count: int, what: str, path: str) -> None:
        os.write(handle, f"{what}\t{path}\n".encode())

    return act
