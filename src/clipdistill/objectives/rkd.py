"""Relational knowledge distillation (CVPR 2019): distances and angles within a batch of unit vectors, of any width."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives.rows import full_precision, mean_over_rows, same_batch, unit


@full_precision
def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss (delta 1) between the distances of all pairs, each side's divided by their mean (section 3.2.1).

    student: [B, D], B of at least 2.  teacher: [B, D'], detached here.
    Returns: scalar, the mean over pairs (the paper prints the sum). Duplicates have no gradient from each other.
    """
    own, taught = (F.pdist(rows) for rows in _sides(student, teacher, 2))
    return F.smooth_l1_loss(own / own.mean().clamp_min(1e-12), taught / taught.mean().clamp_min(1e-12))


@full_precision
def rkd_angle(student: Tensor, teacher: Tensor, *, chunk: int | None = 32) -> Tensor:
    """Huber loss (delta 1) between the cosines of the angles of all triplets (section 3.2.2).

    student: [B, D], B of at least 3.  teacher: [B, D'], detached here.
    chunk: vertices at a time (see `mean_over_rows`): [chunk, B, D] and [chunk, B, B] are held, never B^3.
    Returns: scalar, the mean over triplets of three samples. Duplicates of a vertex are seen at 90 degrees from it.
    """
    return mean_over_rows(_vertices, (sides := _sides(student, teacher, 3)), sides, chunk)


def _vertices(_start: int, vertex: Tensor, taught_vertex: Tensor, own: Tensor, taught: Tensor) -> Tensor:
    apart = 1 - torch.eye(len(own), device=own.device, dtype=own.dtype)
    error = F.smooth_l1_loss(_cosines(vertex, own), _cosines(taught_vertex, taught), reduction="none") * apart
    return error.sum(dim=(1, 2)) / ((len(own) - 1) * (len(own) - 2))  # the vertex itself as an end adds 0


def _cosines(vertex: Tensor, ends: Tensor) -> Tensor:
    edge = ends - vertex[:, None]
    length = edge.norm(dim=-1, keepdim=True)
    edge = edge / length.masked_fill(length < 1e-6, torch.inf)  # below that its direction is rounding
    return torch.bmm(edge, edge.transpose(1, 2))


def _sides(student: Tensor, teacher: Tensor, least: int) -> tuple[Tensor, Tensor]:
    own, taught = unit(student, "student"), unit(teacher.detach(), "teacher")
    same_batch(own, taught)
    if len(own) < least:
        raise ValueError(f"relations need at least {least} samples, got {len(own)}")
    return own, taught.to(own.dtype)
