"""Files of region features that others made: bottom-up attention's TSV, UNITER's NPZ and LMDB, VQA's HDF5."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from clipdistill.data.region_files.base import BadRecord, Names, Record, RegionFile, read_keys
from clipdistill.errors import UserError, nearest

__all__ = ["LAYOUTS", "BadRecord", "Names", "Record", "RegionFile", "open_region_file", "read_keys"]


def _tsv(path: str, **_: Any) -> RegionFile:
    from clipdistill.data.region_files.tsv import TsvFile

    return TsvFile(path)


def _npz(path: str, **_: Any) -> RegionFile:
    from clipdistill.data.region_files.npz import NpzFolder

    return NpzFolder(path)


def _lmdb(path: str, **_: Any) -> RegionFile:
    from clipdistill.data.region_files.npz import LmdbFile

    return LmdbFile(path)


def _hdf5(path: str, ids: str | None = None) -> RegionFile:
    from clipdistill.data.region_files.hdf5 import Hdf5File

    return Hdf5File(path, ids)


LAYOUTS: dict[str, Callable[..., RegionFile]] = {"tsv": _tsv, "npz": _npz, "lmdb": _lmdb, "hdf5": _hdf5}


def open_region_file(layout: str, path: str | Path, ids: str | Path | None = None) -> RegionFile:
    """Open a file of region features; one that was opened before and hasn't changed isn't looked through again.

    Args:
        layout: of `LAYOUTS`. ids: of hdf5, see `Hdf5File`.

    Raises:
        UserError: no such layout or file, one that isn't of the layout, or a package that isn't installed.
    """
    if layout not in LAYOUTS:
        raise UserError(f"`layout`: no layout {layout!r}.{nearest(layout, LAYOUTS)} Layouts: {', '.join(LAYOUTS)}.")
    if ids is not None and layout != "hdf5":
        raise UserError(f"`ids`: {layout} names its pictures itself; remove it")
    place = Path(path).expanduser()
    stat = place.stat() if place.exists() else None
    return _opened(layout, str(path), None if ids is None else str(ids), stat and (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=4)
def _opened(layout: str, path: str, ids: str | None, _: Any) -> RegionFile:
    return LAYOUTS[layout](path, **({} if ids is None else {"ids": ids}))
