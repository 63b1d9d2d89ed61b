"""One lock policy for folders that two processes could write at once: the second waits, or is refused in one line.

Which of the two is for the caller to say, by what the folder is. A store: what the other process writes is what this
one wants, so it waits and then finds it done. A run: the other one's steps aren't this one's, so it is refused.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from clipdistill.errors import UserError
from clipdistill.waits import polls, too_long


class Lock:
    """A lock on a file, held until `release` or the end of the process, however it ends; made by `hold`."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle
        _HELD.add(self)

    def release(self) -> None:
        """Let go of it; a second time does nothing."""
        _HELD.discard(self)
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_HELD: set[Lock] = set()


def hold(path: str | Path, busy: str, *, wait: bool) -> Lock:
    """Lock the file `path`, made with its folder if it isn't there. Use it in a `with`, or keep what it returns.

    Some network file systems have no locks: then nothing is held, and nothing is refused.

    Args:
        busy: what to say when another process has it, such as "runs/a: another process is training into it".
        wait: print that line and wait for the other one, as long as `waits.limit` says; else raise it.

    Raises:
        UserError: the file can't be written, or another process holds it: without `wait`, or for too long.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error.strerror}); choose another folder") from error
    lock = Lock(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            lock.release()
            raise UserError(busy) from None
        try:
            print(f"{busy}; waiting for it", flush=True)
            _wait_for(handle, busy)
        except BaseException:
            lock.release()
            raise
    except OSError:
        pass
    return lock


def _wait_for(handle: int, busy: str) -> None:
    for _ in polls("LOCK"):
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
    raise UserError(
        f"{busy}, and has been for {too_long('LOCK')}; see whether it still works, end it if it doesn't, and give the "
        "same command again"
    )


def _leave_to_the_parent() -> None:
    # A forked process, such as a loader's worker, shares its parent's open file, and with it the lock: left open, a
    # worker that outlives a killed parent would hold it. Closing the worker's copy leaves the parent's lock as it is.
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_leave_to_the_parent)
