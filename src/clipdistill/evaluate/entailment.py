"""Visual entailment: accuracies over all pairs and by class, and classes from clusters of similarities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from clipdistill.evaluate.k_means import k_means, nearest_centre

BY_SIMILARITY = ("contradiction", "neutral", "entailment")
"""The classes from the least similar cluster to the most similar one."""


def entailment_accuracies(predicted: Tensor, label: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """`accuracy` over all pairs, and `accuracy/CLASS`, the share of a class's pairs that is found.

    Args:
        predicted, label: int64 [N], numbers of `classes`. A class without pairs has no entry.

    Raises:
        ValueError: no pairs.
    """
    if not len(label):
        raise ValueError("no pairs")
    right = (predicted == label).double()
    found = {"accuracy": float(right.mean())}
    for number, name in enumerate(classes):
        own = label == number
        if own.any():
            found[f"accuracy/{name}"] = float(right[own].mean())
    return found


def confusion(predicted: Tensor, label: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Counts [class][predicted class], with the classes' names."""
    size = len(classes)
    counts = torch.bincount(label * size + predicted, minlength=size * size).reshape(size, size)
    return {"classes": list(classes), "confusion": counts.tolist()}


def classes_of_similarities(
    similarities: Tensor, classes: Sequence[str], *, seed: int, restarts: int, fit: Tensor | None = None
) -> tuple[Tensor, list[float]]:
    """Tell entailment from similarities alone, without labels (CLIP-TD, 4.2.1: k-means with k = 3).

    The paper takes "the resultant clusters as anchors for each output decision" and doesn't say which is which. Here
    the cluster of the most similar pairs is entailment, that of the least similar contradiction.

    Args:
        similarities: float [N], cosines of a picture and a hypothesis. classes: names, of which the three are.
        fit: float [M], those that the clusters are found of; None = `similarities` themselves.

    Returns:
        int64 [N], numbers of `classes`, and the clusters' means in ascending order.

    Raises:
        ValueError: fewer than three different similarities.
    """
    fitted = similarities if fit is None else fit
    _, centres = k_means(fitted[:, None], len(BY_SIMILARITY), seed=seed, restarts=restarts)
    assigned = nearest_centre(similarities[:, None], centres)
    order = centres[:, 0].argsort()
    number = torch.empty(len(order), dtype=torch.int64)
    number[order] = torch.tensor([list(classes).index(name) for name in BY_SIMILARITY])
    return number[assigned], centres[order, 0].tolist()


def best_mapping(predicted: Tensor, label: Tensor, classes: Sequence[str]) -> float:
    """The accuracy under the best of the six ways to name three clusters: an upper bound, which needs the labels."""
    return max(
        float((torch.tensor(order)[predicted] == label).double().mean()) for order in permutations(range(len(classes)))
    )
