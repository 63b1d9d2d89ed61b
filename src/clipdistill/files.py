"""Writing files so that a reader never sees half of one: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it takes the place of `path`.

    Raises:
        UserError: the folder can't be written or the disk is full; nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(disk_trouble(error, path) or cannot_write(path, error)) from error
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        _remove(temporary)
        message = disk_trouble(error, path)
        if message is None and error.errno in UNWRITABLE:
            message = cannot_write(path, error)
        if message is None:
            raise
        raise UserError(message) from error
    except BaseException as error:
        _remove(temporary)
        # torch's writer meets a full disk with a RuntimeError of its own, without an errno.
        if isinstance(error, RuntimeError) and "inline_container" in str(error):
            raise UserError(f"{path}: can't be written, the disk is full; free some space") from error
        raise


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # what is wrong already is what the user should read
        temporary.unlink(missing_ok=True)


def disk_trouble(error: OSError, path: str | Path | None = None) -> str | None:
    """What to tell a user whose disk is full, gives errors or is read-only; None for anything else."""
    where = path or error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}: the disk is full; free some space or choose another folder"
    if error.errno == errno.EROFS:
        return f"{where}: the disk is read-only, perhaps since it gave errors; choose another folder or mount it anew"
    if error.errno == errno.EIO:
        return f"{where}: the disk gives input/output errors; choose another one"
    return None


def cannot_write(path: str | Path, error: OSError) -> str:
    """What to tell a user whose file or folder can't be written."""
    return f"{path}: can't be written ({error.strerror}); choose another folder"


def require_writable(path: str | Path, field: str) -> None:
    """Make sure that a file or folder `path` could be made, without leaving anything behind.

    Args:
        field: what the user called it, such as `--out`, for the message.

    Raises:
        UserError: it lies below a file, in a folder that can't be written, or on a full disk.
    """
    parent = Path(path).absolute()
    try:
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() and parent != Path(path).absolute():
            raise UserError(f"{field} {path}: {parent} is a file, not a folder; choose another folder")
        with tempfile.TemporaryDirectory(prefix=".clipdistill-", dir=parent if parent.is_dir() else parent.parent):
            pass
    except OSError as error:
        raise UserError(f"{field} {disk_trouble(error, path) or cannot_write(path, error)}") from error


def require_space(path: str | Path, need: float, what: str, field: str = "") -> None:
    """Make sure that the disk which holds, or will hold, `path` has `need` bytes free.

    Args:
        what: what takes the room, such as "a checkpoint", for the message.
        field: what the user called the path, such as `--out`.

    Raises:
        UserError: it has less.
    """
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < need:
        where = f"{field} {path}" if field else str(path)
        room = f"needs {need / 1e6:,.1f} MB more and the disk has {free / 1e6:,.1f} MB"
        raise UserError(f"{where}: {what} {room}; free some space or choose another folder")


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
