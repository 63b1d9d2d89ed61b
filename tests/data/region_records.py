"""Tiny files of region features in the layouts in use, of the same made-up regions."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, SIDE = 6, 20
"""Of features; of the square pictures."""


def regions(seed: int, count: int = 3, width: int = WIDTH) -> dict[str, np.ndarray]:
    """Boxes in pixels, confidences in falling order, features and class probabilities of one picture."""
    draw = np.random.default_rng(seed)
    corner = draw.integers(0, SIDE // 2, (count, 2))
    soft = draw.random((count, 4)).astype(np.float16)
    return {
        "boxes": np.column_stack([corner, corner + draw.integers(1, SIDE // 2, (count, 2))]).astype(np.float32),
        "conf": np.linspace(0.9, 0.1, count, dtype=np.float32),
        "features": draw.standard_normal((count, width)).astype(np.float32),
        "soft_labels": soft,
    }


def encoded(values: np.ndarray, kind: Any = np.float32) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def tsv_line(name: str, found: Mapping[str, np.ndarray], columns: int = 6) -> str:
    count = len(found["boxes"])
    boxes, features = encoded(found["boxes"]), encoded(found["features"])
    if columns == 6:
        return "\t".join([name, str(SIDE), str(SIDE), str(count), boxes, features]) + "\n"
    numbers, conf = encoded(np.arange(count) + 3, np.int64), encoded(found["conf"])
    return "\t".join([name, str(SIDE), str(SIDE), numbers, conf, numbers, conf, str(count), boxes, features]) + "\n"


def uniter_arrays(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    shares = found["boxes"] / SIDE
    sides = shares[:, 2:] - shares[:, :2]
    return {
        "norm_bb": np.column_stack([shares, sides]).astype(np.float16), "conf": found["conf"].astype(np.float16),
        "features": found["features"].astype(np.float16), "soft_labels": found["soft_labels"],
    }  # fmt: skip


def npz_bytes(found: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **uniter_arrays(found))  # type: ignore[arg-type]
    return buffer.getvalue()


def msgpack_bytes(found: Mapping[str, np.ndarray]) -> bytes:
    """As msgpack-numpy writes arrays."""
    import msgpack

    def packed(value: np.ndarray) -> dict[bytes, Any]:
        return {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": value.shape, b"data": value.tobytes()}

    content = {name: packed(value) for name, value in uniter_arrays(found).items()}
    return bytes(msgpack.packb(content, use_bin_type=True))


def write_lmdb(folder: Path, values: Mapping[str, bytes]) -> Path:
    import lmdb

    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as put:
        for name, value in values.items():
            put.put(name.encode(), value)
        put.put(b"__keys__", json.dumps(list(values)).encode())
    return folder


def write_hdf5(file: Path, found: Iterable[Mapping[str, np.ndarray]], *, ids: list[str] | None, ragged: bool) -> Path:
    import h5py

    found = list(found)
    with h5py.File(file, "w") as handle:
        join = np.concatenate if ragged else np.stack
        handle["image_features"] = join([one["features"] for one in found])
        handle["image_bb"] = join([one["boxes"] for one in found])
        shares = join([uniter_arrays(one)["norm_bb"].astype(np.float32) for one in found])
        handle["spatial_features"] = shares
        if ragged:
            ends = np.cumsum([len(one["boxes"]) for one in found])
            handle["pos_boxes"] = np.column_stack([[0, *ends[:-1]], ends])
        if ids is not None:
            handle["ids"] = [one.encode() for one in ids]
    return file
