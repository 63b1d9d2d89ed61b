"""UNITER's files: an NPZ a picture, or an LMDB whose values are NPZ files or msgpack of arrays."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.region_files.base import BadRecord, Record, file_key, from_arrays
from clipdistill.errors import UserError

INSTALL = "`pip install 'clipdistill[regions]'`"
ARRAYS = ("features", "norm_bb", "conf", "soft_labels")


class NpzFolder:
    """A folder of files NAME.npz, each with `features`, `norm_bb`, and perhaps `conf` and `soft_labels`.

    Raises:
        UserError: no such folder, or no NPZ in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such folder of NPZ files")
        self.names = sorted(entry.name for entry in os.scandir(self.path) if entry.name.endswith(".npz"))
        if not self.names:
            raise UserError(f"{self.path}: no NPZ file in it")
        probes = self.names[:: max(1, len(self.names) // 64)]
        self.key = file_key([self.path / name for name in probes], self.names)

    def read(self, name: str) -> Record:
        """One file."""
        try:
            return from_arrays(unpacked((self.path / name).read_bytes()))
        except OSError as error:
            raise BadRecord(f"{name}: {error.strerror}") from None


class LmdbFile:
    """An LMDB folder (data.mdb), or file: picture's name -> NPZ, or msgpack of a mapping with arrays in it.

    Raises:
        UserError: lmdb isn't installed, no such database, or an empty one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        data = self.path / "data.mdb" if self.path.is_dir() else self.path
        if not data.is_file():
            raise UserError(f"{self.path}: no LMDB there (no data.mdb)")
        self.key = file_key([data])
        try:
            with self._begin() as found:
                names = (bytes(name).decode("utf-8", "replace") for name in found.cursor().iternext(values=False))
                self.names = [name for name in names if not name.startswith("__")]  # __keys__: the authors' list
        except Exception as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.path}: not an LMDB ({error})") from None
        if not self.names:
            raise UserError(f"{self.path}: an empty LMDB")

    def read(self, name: str) -> Record:
        """One value."""
        with self._begin() as found:
            content = found.get(name.encode())
        if content is None:
            raise BadRecord("its value is gone")
        return from_arrays(unpacked(bytes(content)))

    def _begin(self) -> Any:
        """A transaction that only reads, of an environment that the process keeps open."""
        try:
            import lmdb
        except ImportError:
            raise UserError(f"layout lmdb: lmdb isn't installed; {INSTALL}") from None
        if not hasattr(self, "_environment"):
            self._environment = lmdb.open(
                str(self.path), readonly=True, lock=False, readahead=False, subdir=self.path.is_dir()
            )
        return self._environment.begin()


def unpacked(content: bytes) -> dict[str, Any]:
    """The arrays in a blob, which is an NPZ file or msgpack. Raises `BadRecord` when it is neither; runs no code."""
    if content[:2] == b"PK":
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as found:
                return {name: found[name] for name in ARRAYS if name in found.files}
        except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
            raise BadRecord(f"a broken NPZ ({error})") from None
    try:
        import msgpack
    except ImportError:
        raise UserError(f"layout lmdb: its values are msgpack, which isn't installed; {INSTALL}") from None
    try:
        found = msgpack.unpackb(content, raw=False, strict_map_key=False, object_hook=_array)
    except BadRecord:
        raise
    except Exception as error:
        raise BadRecord(f"neither NPZ nor msgpack ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise BadRecord("msgpack of something else than named arrays")
    return {name: found[name] for name in ARRAYS if name in found}


def _array(value: dict[Any, Any]) -> Any:
    """An array as msgpack-numpy writes it: {nd: true, type, kind, shape, data}."""
    plain = {key.decode() if isinstance(key, bytes) else key: one for key, one in value.items()}
    if plain.get("nd") is not True:
        return value
    kind = plain["type"].decode() if isinstance(plain["type"], bytes) else plain["type"]
    if plain.get("kind") in (b"O", "O") or not isinstance(kind, str) or np.dtype(kind).hasobject:
        raise BadRecord("objects in it, and not numbers")
    return np.frombuffer(plain["data"], dtype=np.dtype(kind)).reshape(plain["shape"])
