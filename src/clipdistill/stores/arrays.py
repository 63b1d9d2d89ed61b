"""Named arrays on disk: what each is keyed by, how its blocks are written, and its memory map. Knows no teacher."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import disk_trouble

SUFFIX = {"float16": "f16", "float32": "f32"}
KEYS = ("view", "sample", "caption", "field")
AGAIN = "delete it and run `clipdistill cache` again"


@dataclass(frozen=True)
class ArraySpec:
    """A matrix [rows, width] in a file of its own: raw numbers, little-endian, row by row, no header.

    key: what has a slot in it: each "view" of a sample, each "sample", each "caption" of one, or each value of a
        sample's "field", which `field` names (such as the choices of a question).
    ragged: how many rows a slot has is known only once they are found; else it has one.
    about: rows a slot, at a guess, to forecast the room that a ragged array takes.
    """

    name: str
    width: int
    key: str
    dtype: str = "float16"
    field: str = ""
    ragged: bool = False
    about: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in SUFFIX or self.key not in KEYS or (self.key == "field") != bool(self.field):
            raise ValueError(f"dtype must be one of {tuple(SUFFIX)} and key one of {KEYS}, `field` named: {self}")

    @property
    def file(self) -> str:
        """File name, such as `image.f16`."""
        return f"{self.name}.{SUFFIX[self.dtype]}"

    @property
    def kind(self) -> np.dtype[Any]:
        """The numpy type of a number on disk."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def row_bytes(self) -> int:
        """Bytes a row."""
        return self.width * self.kind.itemsize

    @property
    def counted(self) -> str | None:
        """Name of the counts that say how many slots a sample has; None where it has one."""
        return {"caption": "caption", "field": f"field {self.field}"}.get(self.key)


class RowsFile:
    """The file of one array, open for writing blocks of rows, each durably; what lies behind row `end` is cut off."""

    def __init__(self, folder: Path, spec: ArraySpec, end: int) -> None:
        self.path, self.spec = folder / spec.file, spec
        # Not a memory map: writing to one on a full disk kills the process, where pwrite raises an error.
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._handle, end * spec.row_bytes)

    def write(self, start: int, values: np.ndarray) -> str:
        """Write `values` [n, width] from row `start` on; on return they are on the disk. Returns their digest.

        Raises:
            UserError: the disk is full.
        """
        block = np.ascontiguousarray(values, dtype=self.spec.kind)
        if block.ndim != 2 or block.shape[1] != self.spec.width:
            raise ValueError(f"{self.path.name}: block {block.shape} doesn't fit {self.spec}")
        view, at = memoryview(block.tobytes()), start * self.spec.row_bytes
        try:
            while view:
                done = os.pwrite(self._handle, view, at)
                view, at = view[done:], at + done
            os.fsync(self._handle)
        except OSError as error:
            if (message := disk_trouble(error, self.path)) is None:
                raise
            raise UserError(f"{message}; then run the same again, which goes on") from error
        return digest(block.tobytes())

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def open_rows(folder: Path, spec: ArraySpec, rows: int) -> np.ndarray:
    """Return the matrix [rows, width] as a read-only memory map.

    Raises:
        UserError: the file is missing, or longer or shorter than it should be.
    """
    path, expected = folder / spec.file, rows * spec.row_bytes
    size = path.stat().st_size if path.is_file() else -1
    if size != expected:
        found = "missing" if size < 0 else f"{size:,} bytes long, not {expected:,}"
        raise UserError(f"{path}: {found}; the store is damaged, {AGAIN}")
    if expected == 0:
        return np.zeros((rows, spec.width), dtype=spec.kind)  # an empty file can't be mapped
    return np.memmap(path, dtype=spec.kind, mode="r", shape=(rows, spec.width))


def digest(content: bytes) -> str:
    """Return a 128-bit hash of some bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
