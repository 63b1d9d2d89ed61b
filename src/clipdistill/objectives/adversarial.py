"""VILLA's adversarial training (2020): a task learns against small shifts of its inputs that hurt it most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from clipdistill.objectives.rows import full_precision

Shifts = dict[str, Tensor]
Score = Callable[[Shifts], Tensor]
TaskLoss = Callable[[Tensor], Tensor]
Reduce = Literal["mean", "sum"]
FLOOR = 1e-8
"""Least norm that a gradient is divided by."""


def adversarial_losses(
    score: Score, task_loss: TaskLoss, zeros: Mapping[str, Tensor], step_sizes: Mapping[str, float], *,
    steps: int = 3, kl_weight: float = 1.5, kl: Reduce = "mean", alternate: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The loss of `steps` passes over shifted inputs, as two terms that are number by number a sample's.

    A pass over the plain inputs gives the probabilities to stay close to (with their graph). Shifts begin at zero;
    after each pass but the last they move by their step size along the gradient of task + kl_weight * KL, divided by
    its L2 norm over all of a sample's tokens and channels (at least 1e-8). They have no bound, and nothing is learnt
    through how they were found. The plain inputs have no task loss of their own: the first pass has shifts of zero.

    Args:
        score: shifts by name -> logits [B, C], with a graph. An absent name means no shift. The first axis of each
            shift is the sample's, as the logits' is.
        task_loss: logits [B, C] -> losses [B], each of its own sample.
        zeros: what is shifted, by name, as zeros of its shape: `words` [B, L, D] and `regions` [B, M, F] for a fusion
            model. One modality alone: give one.
        step_sizes: by name, how far a step goes.
        steps: passes. kl_weight: of the divergence within the gradient that moves the shifts; weigh the second term
            with the same number.
        kl: over a sample's classes: "mean" (VCR), or "sum" (VQA: the authors' mean times the number of answers).
        alternate: shift one of them at a time, in a pass each, and average (the authors' "alter").

    Returns:
        task [B] and divergence [B], each the mean over the passes; the loss is mean(task + kl_weight * divergence).
        Micro-batches give the same numbers as a whole batch, as far as `score` does.

    Raises:
        ValueError: nothing to shift, a missing step size, no pass at all, or logits of a single class.

    Source: VILLA, section 3.3 and algorithm 1, as its released code has it ("FreeLB"); symmetric KL of softmaxes.
    """
    with torch.enable_grad():
        parts = list(_passes(score, task_loss, zeros, step_sizes, steps, kl_weight, kl, alternate))
    task = torch.stack([each[0] for each in parts]).mean(0)
    return task, torch.stack([each[1] for each in parts]).mean(0)


def adversarial_backward(
    score: Score, task_loss: TaskLoss, zeros: Mapping[str, Tensor], step_sizes: Mapping[str, float], *,
    steps: int = 3, kl_weight: float = 1.5, kl: Reduce = "mean", alternate: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`adversarial_losses` with the backward pass inside: a pass's graph is gone before the next begins.

    The gradient of mean(task) + kl_weight * mean(divergence) is added to the parameters' `.grad`, pass by pass, as the
    authors do it; only the graph of the plain pass is kept until the end. Returns the two terms without a graph.
    """
    task, divergence = [], []
    for losses, divergences in _passes(score, task_loss, zeros, step_sizes, steps, kl_weight, kl, alternate, True):
        task.append(losses)
        divergence.append(divergences)
    return torch.stack(task).mean(0), torch.stack(divergence).mean(0)


def _passes(
    score: Score, task_loss: TaskLoss, zeros: Mapping[str, Tensor], step_sizes: Mapping[str, float],
    steps: int, kl_weight: float, kl: Reduce, alternate: bool, backward: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    if not zeros or steps < 1:
        raise ValueError("adversarial training needs at least one input to shift and one pass")
    if lacking := sorted(set(zeros) - set(step_sizes)):
        raise ValueError(f"step_sizes has none for {', '.join(lacking)}")
    plain = score({})
    if plain.ndim != 2 or plain.shape[1] < 2:
        raise ValueError(f"logits must be [batch, two classes or more], got {list(plain.shape)}")
    shifts = {name: torch.zeros_like(value) for name, value in zeros.items()}
    for number in range(steps):
        shifts = {name: value.detach().requires_grad_() for name, value in shifts.items()}
        groups = [{name: value} for name, value in shifts.items()] if alternate else [shifts]
        logits = [score(group) for group in groups]
        task = torch.stack([task_loss(each) for each in logits]).mean(0)
        divergence = torch.stack([symmetric_kl(plain, each, kl) for each in logits]).mean(0)
        loss = task + kl_weight * divergence
        last = number == steps - 1
        if backward:
            # A shift's gradient of the mean is that of its own sample's loss, divided: the direction is the same.
            (loss.mean() / steps).backward(retain_graph=not last)
            found = [value.grad for value in shifts.values()]
            task, divergence = task.detach(), divergence.detach()
        else:
            found = [] if last else list(torch.autograd.grad(loss.sum(), list(shifts.values()), retain_graph=True))
        del logits, loss  # a pass's graph shall be gone before the next begins
        yield task, divergence
        if not last:
            shifts = {
                name: value.detach() + step_sizes[name] * _direction(gradient)
                for (name, value), gradient in zip(shifts.items(), found, strict=True)
            }


@full_precision
def symmetric_kl(first: Tensor, second: Tensor, reduce: Reduce = "mean") -> Tensor:
    """KL(p || q) + KL(q || p) of the softmaxes of two logits [B, C], over the classes -> [B]; float32 or wider."""
    wide = torch.promote_types(first.dtype, torch.float32)
    log_p, log_q = first.to(wide).log_softmax(dim=1), second.to(wide).log_softmax(dim=1)
    each = (log_p.exp() - log_q.exp()) * (log_p - log_q)
    return each.mean(dim=1) if reduce == "mean" else each.sum(dim=1)


def _direction(gradient: Tensor | None) -> Tensor:
    """`gradient` [B, ...] divided by each sample's norm."""
    assert gradient is not None
    norm: Tensor = gradient.flatten(1).norm(dim=1).clamp_min(FLOOR)
    return gradient / norm.view(-1, *(1,) * (gradient.ndim - 1))
