"""Can regions be read: linear probes that name the class of each region's object from its features alone.

What a linear probe can't tell from the features, a fusion model that reads them will hardly learn. Probes are trained
on the regions of some pictures and measured on those of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clipdistill.errors import UserError

WEIGHT_DECAY = 1e-3
ITERATIONS = 200


def probe_regions(
    train: Any, test: Any, questions: Mapping[str, Sequence[str]] | None = None, limit: int = 20_000
) -> dict[str, Any]:
    """Train and measure a probe for each question about regions.

    Args:
        train, test: region stores whose class names are true, such as those of provider annotations.
        questions: name -> words, of which the one that is in a region's class name is its class ("red" in "red star");
            None = one question, `class`, whose words are the class names of `train`. Regions with none of the words
            are left out.
        limit: regions of each store that are looked at, from its beginning.

    Returns:
        For each question: `accuracy` on `test`, `chance` (the share of its commonest class there), `classes`, and the
        numbers of regions, `train` and `test`.

    Raises:
        UserError: features of two widths, or a question that no region of one of the stores answers.
    """
    widths = [int(store.meta["embed_dim"]) for store in (train, test)]
    if widths[0] != widths[1]:
        raise UserError(f"{test.path}: features of a width of {widths[1]}, and the probe's have {widths[0]}")
    (x, names), (y, others) = (_regions(store, limit) for store in (train, test))
    found: dict[str, Any] = {}
    for name, words in (questions or {"class": sorted(set(names))}).items():
        own, theirs = _classes(names, words, questions is None), _classes(others, words, questions is None)
        for store, labels in ((train, own), (test, theirs)):
            if not (labels >= 0).any():
                raise UserError(f"{store.path}: no region's class name has one of the words of '{name}'")
        accuracy = linear_probe(x[own >= 0], own[own >= 0], y[theirs >= 0], theirs[theirs >= 0], len(words))
        counts = theirs[theirs >= 0].bincount()
        found[name] = {
            "accuracy": accuracy, "chance": float(counts.max() / counts.sum()), "classes": len(words),
            "train": int((own >= 0).sum()), "test": int(counts.sum()),
        }  # fmt: skip
    return found


def linear_probe(x: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, classes: int) -> float:
    """Accuracy of multinomial logistic regression, by L-BFGS over all samples at once: no seed, no rate to choose.

    Features are standardised by the mean and deviation of the training samples; what never changes there is dropped.

    Args:
        x: float [N, D]. labels: int64 [N] below `classes`. test: [M, D]. test_labels: [M].
    """
    mean, deviation = x.mean(0), x.std(0, correction=0)
    kept = deviation > 1e-6
    x, test = ((each - mean)[:, kept] / deviation[kept] for each in (x, test))
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = cross_entropy(x @ weight.T + bias, labels) + WEIGHT_DECAY * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    right = (test @ weight.T + bias).argmax(1) == test_labels
    return float(right.float().mean())


def _regions(store: Any, limit: int) -> tuple[Tensor, list[str]]:
    """Features [n, D] and class names of the first regions of a store."""
    names: list[str]
    features, names = [np.zeros((0, int(store.meta["embed_dim"])), np.float32)], []
    rows = [row for row, one in enumerate(store.ids) if one not in store.bad]
    most = int(store.meta["max_regions"])
    for start in range(0, len(rows), 1024):
        part = rows[start : start + 1024]
        looked = store.lookup(part, most)
        features.append(looked["features"][looked["mask"]])
        names += [label for row in part for label in store.regions(row).labels[:most]]
        if len(names) >= limit:
            break
    return torch.from_numpy(np.concatenate(features)[:limit]), names[:limit]


def _classes(names: Sequence[str], words: Sequence[str], whole: bool) -> Tensor:
    place = {word: number for number, word in enumerate(words)}
    found = [next((place[part] for part in ([one] if whole else one.split()) if part in place), -1) for one in names]
    return torch.tensor(found, dtype=torch.int64)
