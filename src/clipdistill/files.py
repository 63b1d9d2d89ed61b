"""Writing files so that a reader never sees half of one: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError

HOST = socket.gethostname()
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it takes the place of `path`.

    Raises:
        UserError: the folder can't be written or the disk is full; nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{HOST}-{os.getpid()}.tmp")
    with one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(path)
        try:
            yield temporary
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _fsync(path.parent)
        except BaseException:
            _remove(temporary)
            raise


@contextmanager
def one_line(path: str | Path) -> Iterator[None]:
    """Turn what a disk makes go wrong in the block into a UserError that names `path`, also where a library says it.

    torch's and safetensors' writers, and tokenizers', have exceptions of their own for it.
    """
    try:
        yield
    except OSError as error:
        message = disk_trouble(error, path)
        if message is None and error.errno in UNWRITABLE:
            message = cannot_write(path, error)
        if message is None:
            raise
        raise UserError(message) from error
    except Exception as error:
        if isinstance(error, RuntimeError) and "inline_container" in str(error):
            raise UserError(f"{path}: can't be written, the disk is full; free some space") from error
        number = re.search(r"\(os error (\d+)\)", str(error))
        if isinstance(error, UserError) or number is None:
            raise
        told = OSError(int(number[1]), os.strerror(int(number[1])))
        raise UserError(disk_trouble(told, path) or cannot_write(path, told)) from error


def make_durable(folder: str | Path) -> None:
    """See that all that was written below a folder is on the disk, before its name says that it is whole."""
    with one_line(folder):
        for path in [*Path(folder).rglob("*"), Path(folder)]:
            _fsync(path)


def _remove_dead(path: Path) -> None:
    """Remove half a file that a process of this machine left when it was killed as it wrote `path`."""
    start = f".{path.name}.{HOST}-"
    for left in path.parent.glob(f"{glob.escape(start)}*.tmp"):
        if not alive(left.name[len(start) : -len(".tmp")]):
            _remove(left)


def alive(process: str) -> bool:
    """Whether a process of this machine, by its number, still runs."""
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


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
    if error.errno == errno.EFBIG:
        return (
            f"{where}: larger than this disk, or `ulimit -f`, lets a file be; raise the limit or choose another folder"
        )
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
        # A file without a name, where the disk has such: one that is killed here leaves nothing.
        with tempfile.TemporaryFile(dir=parent if parent.is_dir() else parent.parent):
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


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
