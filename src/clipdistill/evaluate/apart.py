"""Zero-shot results of seen and unseen classes: each among its own classes, and each among all classes together.

Classifying unseen classes only among themselves is the easier question; among all classes a model that favours what it
was trained on is found out (generalised zero-shot, as in the comprehensive evaluation of zero-shot learning of 2018).
Both are given, with the harmonic mean of the mean per-class accuracies for the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdistill.errors import UserError, nearest
from clipdistill.evaluate.results import Result
from clipdistill.evaluate.zero_shot import classify

MOST_CELLS = 256 * 256
"""Larger confusion matrices are kept as [true, predicted, count] triples of the cells that aren't empty."""


@dataclass(frozen=True)
class Labelled:
    """Embedded pictures of one source: class names, features [n, D], labels int64 [n] into `classes`, bad samples."""

    name: str
    classes: tuple[str, ...]
    features: Tensor
    label: Tensor
    bad: list[dict[str, str]]


def measure(
    parts: Sequence[Labelled], names: Sequence[str], vectors: Tensor, seen: Sequence[str] | None, templates: int
) -> list[Result]:
    """Return one Result for each part and label space.

    Args:
        parts: the sources. With several, each is measured among its own classes and among all classes together.
        names: all class names, C of them.
        vectors: [C, D] their embeddings.
        seen: class names that count as seen. With one source it is then split into seen and unseen classes.
        templates: how many prompt templates made the embeddings (for the record).

    Raises:
        UserError: a seen class that doesn't exist, or no class left as unseen.
    """
    index = {name: row for row, name in enumerate(names)}
    results = [_result(part, part.classes, index, vectors, part.name, templates) for part in parts]
    if seen is not None:
        if len(parts) != 1:
            raise UserError("seen_classes: works on one source; give one, or name sources 'seen' and 'unseen' instead")
        parts = _split(parts[0], seen)
        results += [_result(part, part.classes, index, vectors, part.name, templates) for part in parts]
    if len(parts) > 1:
        joint = [
            _result(part, names, index, vectors, f"{part.name} among all {len(names)}", templates) for part in parts
        ]
        values = [result.metrics["mean_per_class"] for result in joint]
        if len(values) == 2:
            mean = 0.0 if min(values) == 0 else 2 * values[0] * values[1] / sum(values)
            joint[1].metrics["harmonic_mean"] = mean
        results += joint
    return results


def split_rows(data: str, classes: Sequence[str], seen: Sequence[str]) -> dict[str, list[int]]:
    """The rows of `classes` that are "seen" and those that are "unseen".

    Raises:
        UserError: a seen class that `data` doesn't have, or none left on one side.
    """
    for name in seen:
        if name not in classes:
            raise UserError(f"seen_classes: '{name}' is not a class of {data}.{nearest(name, classes)}")
    found = {
        title: [row for row, name in enumerate(classes) if (name in seen) == wanted]
        for title, wanted in (("seen", True), ("unseen", False))
    }
    for title, rows in found.items():
        if not rows:
            raise UserError(f"seen_classes: leaves no {title} classes in {data}")
    return found


def _split(part: Labelled, seen: Sequence[str]) -> list[Labelled]:
    halves = []
    for title, rows in split_rows(part.name, part.classes, seen).items():
        new = torch.full((len(part.classes),), -1)
        new[rows] = torch.arange(len(rows))
        kept = new[part.label] >= 0
        classes = tuple(part.classes[row] for row in rows)
        # The bad samples are counted once, with the whole source.
        halves.append(Labelled(f"{part.name}/{title}", classes, part.features[kept], new[part.label[kept]], []))
    return halves


def _result(
    part: Labelled, space: Sequence[str], index: dict[str, int], vectors: Tensor, name: str, templates: int
) -> Result:
    place = {title: row for row, title in enumerate(space)}
    label = torch.tensor([place[title] for title in part.classes])[part.label]
    outcome = classify(part.features, vectors[[index[title] for title in space]], label)
    artifacts = {"classes": list(space), "templates": templates, "bad": part.bad}
    if outcome.confusion.numel() <= MOST_CELLS:
        artifacts["confusion"] = outcome.confusion.tolist()
    else:
        cells = outcome.confusion.nonzero()
        counts = outcome.confusion[cells[:, 0], cells[:, 1]]
        artifacts["confusion_cells"] = torch.cat([cells, counts[:, None]], dim=1).tolist()
    return Result("zero_shot", name, len(part.label), dict(outcome.metrics), artifacts)
