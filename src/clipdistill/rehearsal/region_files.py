"""Synthetic region features in the files that detectors' features are given out in."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.rehearsal.handful import Handful

REGIONS = 12
"""Of a picture: above the ten that the files have at least."""
WIDTH = 2048


def _arrays(number: int) -> dict[str, Any]:
    draw = np.random.default_rng(number)
    corner = draw.uniform(0, 0.5, (REGIONS, 2))
    boxes = np.concatenate([corner, corner + draw.uniform(0.1, 0.5, (REGIONS, 2))], axis=1).astype(np.float32)
    features = np.abs(draw.standard_normal((REGIONS, WIDTH))).astype(np.float32)
    return {"features": features, "norm_bb": boxes, "conf": np.full(REGIONS, 0.9, np.float32)}


def _npz(number: int) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **_arrays(number))
    return buffer.getvalue()


def npz(handful: Handful, path: Path, numbers: Iterable[int]) -> None:  # noqa: ARG001 - all are called alike
    """A file a picture."""
    path.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (path / f"{number:06d}.npz").write_bytes(_npz(number))


def lmdb(handful: Handful, path: Path, numbers: Iterable[int]) -> None:  # noqa: ARG001 - all are called alike
    """A database of NPZ files."""
    import lmdb as library

    path.mkdir(parents=True, exist_ok=True)
    with library.open(str(path), map_size=2**28) as place, place.begin(write=True) as found:
        for number in numbers:
            found.put(f"{number:06d}.npz".encode(), _npz(number))


def tsv(handful: Handful, path: Path, numbers: Iterable[int]) -> None:
    """Bottom-up attention's six columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = handful.side
    with open(path, "w", encoding="ascii") as handle:
        for number in numbers:
            arrays = _arrays(number)
            boxes = (arrays["norm_bb"] * side).astype("<f4")
            parts = [base64.b64encode(each.tobytes()).decode() for each in (boxes, arrays["features"].astype("<f4"))]
            handle.write("\t".join([str(number), str(side), str(side), str(REGIONS), *parts]) + "\n")


WRITERS: dict[str, Callable[[Handful, Path, Iterable[int]], Any]] = {"npz": npz, "lmdb": lmdb, "tsv": tsv}
