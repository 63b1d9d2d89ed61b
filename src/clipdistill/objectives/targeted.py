"""CLIP-TD: distances to CLIP's features, which words they are taken at, and when the teacher is listened to.

Everything is given one number a sample (or a pair), never averaged here: the gate of equation 10 weighs samples.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from clipdistill.objectives.rows import full_precision

Reduction = Literal["sum", "mean"]
Pairs = Literal["all", "right"]


@full_precision
def l1_distance(student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    """|teacher - student|_1 of each row (equations 3, 4 and 7).

    student, teacher: [..., D]; the teacher is detached here.
    reduction: over the D numbers. `sum` is the norm as printed, D times `mean`; with raw features of a few tens it
        drowns the task's loss at the paper's weight of 0.05.
    Returns: [...].
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must be alike")
    apart = (teacher.detach().to(student.dtype) - student).abs()
    return apart.sum(dim=-1) if reduction == "sum" else apart.mean(dim=-1)


@full_precision
def unit_rms(features: Tensor) -> Tensor:
    """Rows [..., D] scaled to a root mean square of 1, whatever the teacher's scale; rows of zeros stay zeros."""
    scale = features.square().mean(dim=-1, keepdim=True).sqrt()
    return features / scale.clamp_min(torch.finfo(features.dtype).tiny)


@full_precision
def word_scores(relevance: Tensor, importance: Tensor, mask: Tensor) -> Tensor:
    """S = S_vr / |S_vr|_1 + S_si / |S_si|_1 (equation 5).

    relevance: [..., W], cosines of the image and each word; below 0 they count as 0, since a word that speaks against
        the picture isn't relevant, and signs would break the norm.
    importance: [..., W], at least 0. mask: bool [..., W], True = a word.
    Returns: [..., W], 0 where there is no word. A part that is 0 for all words adds nothing.
    """
    parts = [torch.where(mask, one, 0).clamp_min(0) for one in (relevance, importance)]
    norms = [part.sum(dim=-1, keepdim=True) for part in parts]
    return sum(
        (part / torch.where(norm > 0, norm, 1) for part, norm in zip(parts, norms, strict=True)), start=0 * parts[0]
    )


@full_precision
def top_words(scores: Tensor, candidates: Tensor, count: int) -> Tensor:
    """The places of the `count` highest scores (equation 6), best first; of equal ones the earlier word.

    scores: [W]. candidates: bool [W]; where there are fewer, fewer are chosen.
    Returns: int64 [n], n at most `count`.
    """
    order = torch.argsort(torch.where(candidates, scores, -torch.inf), descending=True, stable=True)
    return order[: min(count, int(candidates.sum()))]


@full_precision
def confidence_ratio(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """r = T * max softmax(teacher) / max softmax(student) (equation 9), without gradient.

    teacher: logits [B, N]. student: logits [B, M], which may tell other answers apart.
    Returns: [B].
    """
    sure = [logits.detach().softmax(dim=-1).amax(dim=-1) for logits in (teacher, student)]
    return temperature * sure[0].to(sure[1].dtype) / sure[1]


@full_precision
def gate(ratio: Tensor) -> Tensor:
    """1 where the ratio is above 1, else 0 (equation 10, whose weight is the term's)."""
    return (ratio > 1).to(ratio.dtype)


@full_precision
def choice_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) over the choices of each sample. Ours, not the paper's.

    The teacher's choice, instead of its features: a text's features are the same for every picture, a choice is not.

    student, teacher: logits [B, N]; the teacher is detached here. Returns: [B].
    """
    aim = teacher.detach().to(student.dtype).log_softmax(dim=-1)
    return kl_div(student.log_softmax(dim=-1), aim, reduction="none", log_target=True).sum(dim=-1)
