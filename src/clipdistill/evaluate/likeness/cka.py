"""Linear CKA between layers of two models, unbiased and in minibatches, with an interval over pictures.

CKA (Kornblith et al. 2019) is HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the Gram matrices K = X X', L = Y Y'. HSIC is
estimated without bias (Song et al. 2012, HSIC_1) by U-centred Gram matrices, whose product it is (Székely and Rizzo
2014): the biased estimate grows with width / n, and says 0.84 of independent features of widths 192 and 768 at n = 64.
Over batches, numerator and denominators are summed, then divided once (Nguyen et al. 2021).

**The interval** is a bootstrap over pictures of the jackknife's pseudo-values. Drawing pictures with replacement and
computing CKA again won't do: a picture that is drawn twice is a pair with itself, which is the very bias that was taken
out. HSIC is a U-statistic, so the pseudo-values n HSIC - (n - 1) HSIC without picture i have HSIC as their mean,
exactly, and spread as what each picture contributes. They follow from the batch's Gram matrices at once; each draw of
pictures sums theirs, numerator and denominators alike, and divides once. Small batches make intervals wider than they
need be: of 10 pictures by a third to a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LEAST = 4
"""Pictures in a batch, for HSIC; an interval needs one more, to leave one out."""
FLAT = 1e-12
"""Features whose squares about their mean are a smaller share of their squares are constant but for rounding."""
NOTHING = 1e-20
"""A centred Gram matrix whose squares are a smaller share of the Gram matrix's is nothing but rounding."""
DRAWS_AT_ONCE = 100


@dataclass(frozen=True)
class CKA:
    """Linear CKA of each layer of the first model with each of the second: float64 [F, S].

    Attributes:
        value: about 0 for features that have nothing to do with each other, where it may be negative; 1 for features
            that are equal up to rotation, scale and shift. NaN where one doesn't vary at all: `first`, `second` are 0.
        low, high: the interval, NaN where there is none.
        undefined: int64, draws whose denominators weren't positive; they are left out of the interval.
        hsic: the numerators. first [F], second [S]: what is under the root. All are means over pictures.
        images, batches: how many there were.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    undefined: Tensor
    hsic: Tensor
    first: Tensor
    second: Tensor
    images: int
    batches: int


class LinearCKA:
    """Sums over batches of the same pictures, seen by two models; `result` divides.

    Batches should be random draws of the pictures: sorted by class, each would lack what tells classes apart. Each
    batch's HSIC counts by its number of pictures, so that batches may differ in size.

    Args:
        first, second: how many layers each model has. unit: take features at length 1, as CLIP compares embeddings,
            so that a few long ones don't decide; else as they are.
    """

    def __init__(self, first: int, second: int, *, unit: bool = False) -> None:
        self.layers = (first, second)
        self.unit = unit
        self.images = self.batches = 0
        size = first * second + first + second
        self._sums = torch.zeros(size, dtype=torch.float64)
        self._parts: list[Tensor] | None = []  # pseudo-values [n, size] of each batch; None: one was too small

    def add(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Add a batch: each layer's features [n, C], n the same for all, at least 4; row i is one picture everywhere.

        Raises:
            ValueError: other layers or numbers of rows.
        """
        if (len(first), len(second)) != self.layers:
            raise ValueError(f"{len(first)} and {len(second)} layers, not {self.layers[0]} and {self.layers[1]}")
        counts = {len(each) for each in (*first, *second)}
        n = counts.pop()
        if counts or n < LEAST:
            raise ValueError(f"every layer needs the same pictures, at least {LEAST}; there are {[n, *counts]}")
        grams = [torch.stack([centred_gram(each, self.unit) for each in side]) for side in (first, second)]
        one, two = grams
        # What picture i has of the sums over pairs: row i of K times row i of L, for each pair of layers.
        cross = torch.bmm(one.transpose(0, 1), two.permute(1, 2, 0)).flatten(1)
        rows = torch.cat([cross, *(each.square().sum(dim=2).T for each in grams)], dim=1)
        total = rows.sum(dim=0)
        self._sums += (total / (n - 3)).cpu()  # n times HSIC, which is total / (n (n - 3))
        if n == LEAST:
            self._parts = None
        if self._parts is not None:
            self._parts.append(pseudo_values(rows, total).cpu())
        self.images += n
        self.batches += 1

    def result(self, *, draws: int = 1000, level: float = 0.95, seed: int = 0) -> CKA:
        """Divide.

        Args:
            draws: of pictures, for the interval; 0 = none. level: the share of draws inside it. seed: of the draws.

        Raises:
            ValueError: nothing was added.
        """
        if not self.batches:
            raise ValueError("there is no batch to divide")
        value, _ = self._ratio(self._sums[None])
        low = high = torch.full_like(value[0], torch.nan)
        undefined = torch.zeros(value[0].shape, dtype=torch.int64)
        if draws and self._parts is not None:
            drawn = torch.cat([ratio for ratio, _ in map(self._ratio, self._drawn(draws, seed))])
            undefined = drawn.isnan().sum(dim=0)
            edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
            low, high = torch.nanquantile(drawn, edges, dim=0)
        hsic, first, second = self._split((self._sums / self.images)[None])
        return CKA(value[0], low, high, undefined, hsic[0], first[0], second[0], self.images, self.batches)

    def _drawn(self, draws: int, seed: int) -> list[Tensor]:
        """Sums over as many pictures as there are, drawn with replacement: [up to 100, size] each."""
        parts = torch.cat(self._parts or [])
        generator = torch.Generator().manual_seed(seed)
        found = []
        for start in range(0, draws, DRAWS_AT_ONCE):
            some = min(DRAWS_AT_ONCE, draws - start)
            picked = torch.randint(len(parts), (some, len(parts)), generator=generator)
            times = torch.zeros(some, len(parts), dtype=torch.float64)
            times.scatter_add_(1, picked, torch.ones_like(times))
            found.append(times @ parts)
        return found

    def _split(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[k, size] -> numerators [k, F, S], and what is under the root, [k, F] and [k, S]."""
        first, second = self.layers
        cross, one, two = sums.split([first * second, first, second], dim=1)
        return cross.unflatten(1, self.layers), one, two

    def _ratio(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """CKA [k, F, S] of sums [k, size]; NaN, and True in the second, where a denominator isn't positive."""
        cross, one, two = self._split(sums)
        bad = (one <= 0)[:, :, None] | (two <= 0)[:, None, :]
        root = one.clamp(min=0).sqrt()[:, :, None] * two.clamp(min=0).sqrt()[:, None, :]
        return torch.where(bad, torch.nan, cross / root), bad


def centred_gram(features: Tensor, unit: bool = False) -> Tensor:
    """The U-centred Gram matrix of features [n, C]: float64 [n, n], 0 on the diagonal, rows that sum to 0.

    All zeros for features that don't vary, and where only one picture differs, which makes no pair with another. unit:
    of features at length 1.
    """
    wide = features.detach().double()
    wide = F.normalize(wide, dim=1) if unit else wide
    n = len(wide)
    moved = wide - wide.mean(dim=0)  # changes nothing in what follows but its rounding
    if moved.square().sum() <= FLAT * wide.square().sum():
        return wide.new_zeros(n, n)
    gram = moved @ moved.T
    size = gram.square().sum()
    gram.fill_diagonal_(0)
    mean = gram.sum(dim=0) / (n - 2)
    mean -= mean.sum() / (2 * (n - 1))
    centred = (gram - mean[:, None] - mean[None, :]).fill_diagonal_(0)
    return centred if centred.square().sum() > NOTHING * size else torch.zeros_like(centred)


def pseudo_values(rows: Tensor, total: Tensor) -> Tensor:
    """n HSIC - (n - 1) HSIC without picture i, for U-centred Gram matrices of n pictures, n > 4.

    Args:
        rows: [n, size], each picture's sum over its row of K * L. total: [size], their sum, n (n - 3) HSIC.

    Returns:
        [n, size], of sum n HSIC. Rows of U-centred matrices sum to 0, which leaves of Song et al.'s three terms without
        picture i: total - 2 rows_i, 0, and rows_i, so that HSIC without it is (total - 2 rows_i (n - 2) / (n - 3)) /
        ((n - 1) (n - 4)).
    """
    n = len(rows)
    return (2 * (n - 2) * rows - total) / ((n - 3) * (n - 4))


def cka_of_all(first: np.ndarray, second: np.ndarray) -> float | None:
    """What `LinearCKA` gives for a single batch, of one pair of layers, without ever making a Gram matrix.

    Song et al.'s three terms in the space of the features: memory grows with their widths and not with the square of
    the pictures, so that all can be one batch. It has no pseudo-values, and so no interval.

    Args:
        first: float64 [n, C], second: float64 [n, E]; n of 4 or more.

    Returns:
        None where one side doesn't vary.
    """
    x, y = first - first.mean(axis=0), second - second.mean(axis=0)  # changes nothing but the rounding
    own = _hsic(x, x) * _hsic(y, y)
    return float(_hsic(x, y) / np.sqrt(own)) if own > 0 else None


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
    n = len(x)
    own_x, own_y = (x**2).sum(axis=1), (y**2).sum(axis=1)
    rows_x, rows_y = x @ x.sum(axis=0) - own_x, y @ y.sum(axis=0) - own_y  # K 1 and L 1, diagonals 0
    trace = ((x.T @ y) ** 2).sum() - own_x @ own_y
    chains = 2 * (rows_x @ rows_y) / (n - 2)
    return float((trace + rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2)) - chains) / (n * (n - 3)))
