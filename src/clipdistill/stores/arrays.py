"""Matrices on disk, written block by block and read through a memory map. Knows nothing of teachers.

Whatever else is to be stored a row at a time (region features, token features) can be one more of these files.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError

SUFFIX = {"float16": "f16", "float32": "f32"}


@dataclass(frozen=True)
class ArraySpec:
    """A matrix [rows, width] in a file of its own: raw numbers, little-endian, row by row, no header."""

    name: str
    rows: int
    width: int
    dtype: str = "float16"

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
    def bytes(self) -> int:
        """Bytes in all."""
        return self.rows * self.row_bytes

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values; `ArraySpec(**value)` reads them back."""
        return asdict(self)


class RowsWriter:
    """Writes blocks of rows of one matrix, in any order, each durably."""

    def __init__(self, folder: Path, spec: ArraySpec) -> None:
        self.path = folder / spec.file
        self.spec = spec
        # Not a memory map: writing to one on a full disk kills the process, where pwrite raises an error.
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._handle, spec.bytes)

    def write(self, start: int, values: np.ndarray) -> str:
        """Write `values` [n, width] from row `start` on; on return they are on the disk. Returns their digest.

        Raises:
            UserError: the disk is full.
        """
        block = np.ascontiguousarray(values, dtype=self.spec.kind)
        if block.ndim != 2 or block.shape[1] != self.spec.width or start + len(block) > self.spec.rows:
            raise ValueError(f"{self.path.name}: block {block.shape} at row {start} doesn't fit {self.spec}")
        view, at = memoryview(block.tobytes()), start * self.spec.row_bytes
        try:
            while view:
                done = os.pwrite(self._handle, view, at)
                view, at = view[done:], at + done
            os.fsync(self._handle)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(f"{self.path}: the disk is full; free some space and run the same again") from error
            raise
        return digest(block)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def open_rows(folder: Path, spec: ArraySpec) -> np.ndarray:
    """Return the matrix [rows, width] as a read-only memory map.

    Raises:
        UserError: the file is missing, or longer or shorter than it should be.
    """
    path = folder / spec.file
    size = path.stat().st_size if path.is_file() else -1
    if size != spec.bytes:
        found = "missing" if size < 0 else f"{size:,} bytes long, not {spec.bytes:,}"
        raise UserError(f"{path}: {found}; the store is damaged, delete it and run `clipdistill cache` again")
    if spec.bytes == 0:
        return np.zeros((spec.rows, spec.width), dtype=spec.kind)  # an empty file can't be mapped
    return np.memmap(path, dtype=spec.kind, mode="r", shape=(spec.rows, spec.width))


def gather(parts: Sequence[np.ndarray], part: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return float32 rows [B, width]: `parts[part[i]][index[i]]` for each i."""
    if len(parts) == 1:
        return np.asarray(parts[0][index], dtype=np.float32)
    result = np.empty((len(index), parts[0].shape[1]), dtype=np.float32)
    for number in np.unique(part):
        mine = part == number
        result[mine] = parts[number][index[mine]]
    return result


def digest(block: np.ndarray) -> str:
    """Return a 128-bit hash of a block's bytes."""
    return hashlib.blake2b(np.ascontiguousarray(block).tobytes(), digest_size=16).hexdigest()
