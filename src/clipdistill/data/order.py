"""In what order an epoch visits a mixture: a pure function of (mixture layout, seed, epoch)."""

from __future__ import annotations

import numpy as np

from clipdistill.data.draws import integer
from clipdistill.data.mixture import Mixture

SHARDS_TOGETHER = 8
"""How many shards are open at once: rows are shuffled across that many, so reads stay within a few files."""


def epoch_order(mixture: Mixture, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return every position of `mixture`, each as often as its source is repeated, int64 [mixture.visits].

    Sources without shards are shuffled fully. Of a source with shards, the shards are shuffled, then the rows within
    each run of `SHARDS_TOGETHER` shards. Several sources are dealt evenly over the epoch, so that a batch holds about
    the mixture's shares of each.
    A repeated one counts as so many sources.
    """
    layout = [each for each, times in zip(mixture.layout(), mixture.repeat, strict=True) for _ in range(times)]
    if not shuffle:
        return np.concatenate([np.arange(positions.start, positions.stop) for positions, _ in layout])
    generator = np.random.Generator(np.random.PCG64(integer(2**63, seed, "order", epoch)))
    if mixture.visits == len(mixture) and all(shards is None for _, shards in layout):
        return generator.permutation(len(mixture))
    dealt: list[np.ndarray] = []
    places: list[np.ndarray] = []
    for positions, shards in layout:
        count = len(positions)
        if shards is None:
            order = generator.permutation(np.arange(positions.start, positions.stop))
        else:
            turns = generator.permutation(len(shards))
            windows = [turns[i : i + SHARDS_TOGETHER] for i in range(0, len(turns), SHARDS_TOGETHER)]
            order = np.concatenate(
                [generator.permutation(np.concatenate([shards[shard] for shard in window])) for window in windows]
            )
        dealt.append(order)
        places.append((np.arange(count) + generator.random(count)) / count)
    return np.concatenate(dealt)[np.argsort(np.concatenate(places), kind="stable")]
