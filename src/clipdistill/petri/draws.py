"""Counter-based random numbers: the value at a place depends on the place alone, not on what was drawn before it."""

from __future__ import annotations

import hashlib

import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)


def stream(*names: object) -> int:
    """Return a 64-bit key for a sequence of names and numbers, the same on every machine and in every version."""
    text = "\x1f".join(str(name) for name in names).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def uniforms(key: int, count: int) -> np.ndarray:
    """Return float64 [count] in [0, 1): the first `count` numbers of the stream `key`.

    The mixer is the 64-bit finaliser of splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
    generators") over key + counter. It is our own few lines rather than numpy's Generator because numpy may change
    a Generator's stream between versions, and a petri world must stay the same picture for picture.
    """
    with np.errstate(over="ignore"):
        z = np.uint64(key) + _STEP * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Draws:
    """A cursor over one stream: small helpers that read the next numbers of it."""

    def __init__(self, key: int, count: int = 64) -> None:
        self._key = key
        self._values = uniforms(key, count)
        self._next = 0

    def take(self, count: int) -> np.ndarray:
        """Return the next `count` uniforms, float64 [count]."""
        end = self._next + count
        if end > len(self._values):
            self._values = uniforms(self._key, max(2 * len(self._values), end))
        values = self._values[self._next : end]
        self._next = end
        return values

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return one float in [low, high)."""
        return low + (high - low) * float(self.take(1)[0])

    def integer(self, count: int) -> int:
        """Return one integer in [0, count)."""
        return int(self.take(1)[0] * count)

    def chance(self, share: float) -> bool:
        """Return True with probability `share`."""
        return bool(self.take(1)[0] < share)

    def weighted(self, cumulative: np.ndarray) -> int:
        """Return an index drawn by `cumulative` weights (increasing, last = 1)."""
        return min(int(np.searchsorted(cumulative, self.take(1)[0], side="right")), len(cumulative) - 1)

    def order(self, count: int) -> list[int]:
        """Return a random order of range(count)."""
        return [int(i) for i in np.argsort(self.take(count), kind="stable")]

    def normal(self, count: int) -> np.ndarray:
        """Return float64 [count] of the standard normal (Box-Muller)."""
        u = self.take(2 * count)
        lengths: np.ndarray = np.sqrt(-2.0 * np.log1p(-u[:count]))
        return lengths * np.cos(2.0 * np.pi * u[count:])
