"""Random numbers that are pure functions of what they are for: no generator state, so nothing to save or to replay.

A draw is made from a BLAKE2b digest of (seed, what for, which), so it doesn't depend on the order of calls, the number
of workers or ranks, or the platform.
"""

from __future__ import annotations

import hashlib
import struct
from math import gcd

_SIXTEEN = struct.Struct("<16I")
_SCALE = 1.0 / 2**32


def uniforms(seed: int, *parts: str | int) -> list[float]:
    """Return 16 floats in [0, 1), independent and uniform, drawn from `seed` and `parts`."""
    return [word * _SCALE for word in _SIXTEEN.unpack(_digest(seed, parts))]


def integer(bound: int, seed: int, *parts: str | int) -> int:
    """Return an integer in [0, bound) drawn from `seed` and `parts`; `bound` is at least 1."""
    return int.from_bytes(_digest(seed, parts)[:8], "little") % bound


def turn(count: int, index: int, seed: int, *parts: str | int) -> int:
    """Return which of `count` things is shown at turn `index` (0, 1, ...): each once before any comes again.

    Each round of `count` turns walks the things with a drawn start and a drawn stride that shares no factor with
    `count`, so consecutive rounds differ.
    """
    if count <= 1:
        return 0
    round_number, place = divmod(index, count)
    words: tuple[int, ...] = _SIXTEEN.unpack(_digest(seed, (*parts, round_number)))
    stride = 1 + words[1] % count
    while gcd(stride, count) != 1:
        stride += 1
    return (words[0] + stride * place) % count


def _digest(seed: int, parts: tuple[str | int, ...]) -> bytes:
    # repr of each part keeps ("a", "bc") and ("ab", "c") apart.
    # numpy integers are written as Python's, or a view counted by numpy would be another view.
    plain = tuple(part if isinstance(part, str) else int(part) for part in parts)
    return hashlib.blake2b(repr((int(seed), plain)).encode(), digest_size=64).digest()
