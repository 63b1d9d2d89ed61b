"""What a source yields: a `Sample` with a lazily decoded image, captions, perhaps a label and regions."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipdistill.data.decode import MOST_BYTES, BadImage, decode

__all__ = ["BadImage", "ImageRef", "Regions", "Sample"]


class ImageRef:
    """Where a picture is, cheap to copy and to pickle; nothing is read before `open`.

    Two are equal when they are the same bytes of the same file, the same encoded bytes, or one array.
    """

    __slots__ = ("_offset", "_size", "_where")

    def __init__(self, where: str | bytes | np.ndarray, offset: int = 0, size: int = -1) -> None:
        self._where = where
        self._offset = offset
        self._size = size

    @classmethod
    def from_path(cls, path: str | Path) -> ImageRef:
        """A picture in a file of its own."""
        return cls(str(path))

    @classmethod
    def from_range(cls, path: str | Path, offset: int, size: int) -> ImageRef:
        """A picture that is `size` bytes at `offset` of a larger file, such as a tar."""
        return cls(str(path), offset, size)

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageRef:
        """An encoded picture that is in memory already."""
        return cls(data)

    @classmethod
    def from_array(cls, pixels: np.ndarray) -> ImageRef:
        """Decoded pixels, uint8 [H, W, 3]."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8 [H, W, 3]")
        return cls(pixels)

    def read(self) -> bytes:
        """Return the encoded bytes. Raises `BadImage` when the file is missing, unreadable or too short."""
        if isinstance(self._where, bytes):
            return self._where
        if not isinstance(self._where, str):
            raise TypeError("a picture made from an array has no encoded bytes")
        try:
            with open(self._where, "rb", opener=_open_file) as handle:
                if self._size < 0:
                    if (size := os.fstat(handle.fileno()).st_size) > MOST_BYTES:
                        raise BadImage(f"{self._where}: {size:,} bytes are more than the limit of {MOST_BYTES:,}")
                    return handle.read()
                handle.seek(self._offset)
                data = handle.read(self._size)
        except FileNotFoundError:
            raise BadImage(f"{self._where}: no such file") from None
        except OSError as error:
            raise BadImage(f"{self._where}: {error.strerror}") from None
        except ValueError:  # a NUL, or half of a character, which no file's name has
            raise BadImage(f"{self._where!r}: no name of a file") from None
        if len(data) < self._size:
            raise BadImage(f"{self._where}: cut short at byte {self._offset + len(data)}")
        return data

    def open(self, min_size: int | None = None) -> Image.Image:
        """Return the picture: RGB, upright, every pixel unless `min_size` allows a JPEG to be decoded smaller.

        Raises:
            BadImage: missing, empty, truncated, not an image, or too large.
        """
        return self.open_each((min_size,))[0]

    def open_each(self, min_sizes: Sequence[int | None]) -> list[Image.Image]:
        """`open` for each of `min_sizes`, reading once and decoding once for each distinct reduction."""
        if isinstance(self._where, np.ndarray):
            return [Image.fromarray(self._where)] * len(min_sizes)
        try:
            return decode(self.read(), min_sizes)
        except BadImage as error:
            if isinstance(self._where, str) and not str(error).startswith(self._where):
                raise BadImage(f"{self._where}: {error}") from error.__cause__
            raise

    def byte_size(self) -> int:
        """Size in bytes as the file system or the archive knows it; -1 when the file is missing."""
        if isinstance(self._where, bytes):
            return len(self._where)
        if isinstance(self._where, np.ndarray):
            return self._where.nbytes
        if self._size >= 0:
            return self._size
        try:
            return Path(self._where).stat().st_size
        except (OSError, ValueError):
            return -1

    def probe(self, most: int = 16_384) -> bytes:
        """Bytes that tell pictures of one size apart: at most `most` at the start, in the middle and at the end.

        Of decoded pixels all of them. Raises `BadImage` as `read` does.
        """
        if isinstance(self._where, np.ndarray):
            return self._where.tobytes()
        size = self.byte_size()
        if isinstance(self._where, bytes) or size <= 3 * most:
            return self.read()
        starts = (0, (size - most) // 2, size - most)
        return b"".join(ImageRef(self._where, self._offset + start, most).read() for start in starts)

    def _key(self) -> tuple[str | bytes | int, int, int]:
        where = id(self._where) if isinstance(self._where, np.ndarray) else self._where
        return where, self._offset, self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageRef) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        if isinstance(self._where, str):
            return f"ImageRef({self._where!r}, {self._offset}, {self._size})"
        return f"ImageRef(<{self.byte_size()} bytes>)"


def _open_file(path: str, flags: int) -> int:
    """Open a regular file of a size that a picture may have: a pipe would be waited for, a device never ends."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise BadImage(f"{path}: {'a folder' if stat.S_ISDIR(facts.st_mode) else 'a pipe or a device'}, not a file")
    return handle


@dataclass(frozen=True, slots=True)
class Regions:
    """Boxes in one picture, from annotations or from a detector.

    boxes: float32 [n, 4], x1 y1 x2 y2 in pixels of the upright picture; scores: float32 [n]; labels: n names.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and what is known of it. `id` is unique in its source and doesn't depend on where the data lies."""

    id: str
    image: ImageRef
    captions: tuple[str, ...] = ()
    label: int | None = None
    regions: Regions | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
