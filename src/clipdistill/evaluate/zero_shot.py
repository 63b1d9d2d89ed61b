"""Zero-shot classification (CLIP, section 3.1): class embeddings from prompts, and how they classify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.evaluate.retrieval import unit


@dataclass(frozen=True)
class Classification:
    """Outcome of classifying N pictures into C classes.

    Attributes:
        metrics: `top1`, `top5` (only when C > 5, where it says something) and `mean_per_class` (the mean over the
            classes that occur of the share of their pictures that are right), as fractions.
        confusion: int64 [C, C]; row = true class, column = predicted class.
        predicted: int64 [N].
    """

    metrics: dict[str, float]
    confusion: Tensor
    predicted: Tensor


def class_prompts(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return `len(classes) * len(templates)` prompts, class by class; underscores in names become spaces."""
    return [template.replace("{}", name.replace("_", " ")) for name in classes for template in templates]


def class_embeddings(prompts: Tensor, classes: int) -> Tensor:
    """Average prompt embeddings into class embeddings: each is normalised, then the mean is normalised again.

    Args:
        prompts: [C * T, D], class by class, as `class_prompts` orders them.
        classes: C.

    Returns:
        float64 [C, D], rows of length 1.
    """
    mean = unit(prompts, "prompt").reshape(classes, -1, prompts.shape[1]).mean(dim=1)
    return unit(mean, "class")


def classify(image: Tensor, classes: Tensor, label: Tensor, chunk: int = 4096) -> Classification:
    """Classify by cosine, with ties broken against the model: a wrong class as near as the right one wins.

    Args:
        image: [N, D] embeddings, normalised or not.
        classes: [C, D] class embeddings.
        label: int64 [N] in [0, C).
        chunk: how many pictures are compared at once.

    Raises:
        UserError: no pictures, a label outside [0, C), or an embedding with NaN or infinity.
    """
    count = len(classes)
    if len(image) == 0:
        raise UserError("zero_shot: the data set holds no picture that could be read")
    if label.shape != (len(image),) or int(label.min()) < 0 or int(label.max()) >= count:
        raise UserError(f"zero_shot: labels must be one for each picture, in [0, {count}); check class_names")
    image_unit, class_unit = unit(image, "image"), unit(classes, "class")
    label = label.to(image_unit.device)
    ranks, predicted = [], []
    for at in range(0, len(image_unit), chunk):
        # Rounded to float32 for the reason that retrieval.py gives: equal embeddings must tie exactly.
        scores = (image_unit[at : at + chunk] @ class_unit.T).float()
        own = label[at : at + chunk, None]
        right = scores.gather(1, own)
        others = scores.scatter(1, own, -float("inf"))
        best = others.max(dim=1)
        ranks.append(1 + (others >= right).sum(dim=1))
        predicted.append(torch.where(right[:, 0] > best.values, own[:, 0], best.indices))
    rank, guess = torch.cat(ranks), torch.cat(predicted)
    confusion = torch.bincount(label * count + guess, minlength=count * count).reshape(count, count)
    shown = confusion.sum(dim=1)
    hit = confusion.diagonal()[shown > 0].double() / shown[shown > 0]
    metrics = {"top1": float((rank <= 1).double().mean()), "mean_per_class": float(hit.mean())}
    if count > 5:
        metrics["top5"] = float((rank <= 5).double().mean())
    return Classification(metrics, confusion.cpu(), guess.cpu())
