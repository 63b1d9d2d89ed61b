"""The gradient cache: the gradient of a loss over the whole batch, with the memory of a micro-batch.

GradCache (2021): encode micro-batches without a graph, take the batch losses' gradients at the cached features, encode
again with a graph and push those gradients through. Sample losses join in the second pass. With one micro-batch there
is one pass, which is plain training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.micro_batches import batch_size, split
from clipdistill.engine.rng import device_states, drawing_from, restore_device_states
from clipdistill.tasks.base import Features, Task


def backward(
    task: Task,
    batch: Mapping[str, Any],
    ranks: Ranks,
    micro_batch: int | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, Tensor]:
    """Add the gradient of the weighted losses to the parameters' `.grad`; average over ranks afterwards.

    Args:
        batch: this rank's part of the batch; see `micro_batches.split` for what it may hold.
        micro_batch: samples encoded at once; None = all of them.

    Returns:
        The unweighted terms, detached: batch terms over the gathered batch, sample terms as this rank's share of the
        (weighted) mean over the whole batch, so that their average over ranks is that mean.
    """
    chunks = split(batch, micro_batch)
    replay = len(chunks) > 1
    encoded: list[Features] = []
    states: list[list[Tensor]] = []
    targets: list[Features] = []
    weights: list[dict[str, Tensor]] = []
    for chunk in chunks:
        with autocast():
            targets.append(task.targets(chunk))
            states.append(device_states() if replay else [])
            with torch.no_grad() if replay else nullcontext(), frozen_statistics(task) if replay else nullcontext():
                encoded.append(task.encode(chunk))
            with torch.no_grad():
                weights.append(task.sample_weights({**encoded[-1], **targets[-1]}, chunk))
    # Both before the replay: a term's mean over the whole batch needs the sum of all weights, and the batch terms may
    # draw, so the state to go on with is the one after them.
    sums = _sums(weights, ranks)
    terms, gradients = _batch_terms(task, encoded, targets, ranks)
    end_state = device_states() if replay else []

    for index, chunk in enumerate(chunks):
        with autocast():
            if replay:
                restore_device_states(states[index])
                encoded[index] = task.encode(chunk)
            features = encoded[index]
            sample_terms = {
                name: _share(name, values, weights[index].get(name), sums.get(name), len(chunks), ranks, chunk)
                for name, values in task.sample_losses({**features, **targets[index]}, chunk).items()
            }
            # The rank's slice of the gradient is one of world_size parts of a sum, and ranks are averaged later.
            surrogate = [
                (features[name] * gradient).sum() * ranks.world_size
                for name, gradient in _chunk_of(gradients, index, len(chunks)).items()
                if features[name].requires_grad
            ]
            surrogate += [task.weights[name] * value for name, value in sample_terms.items()]
        if surrogate:
            torch.stack(
                [value.float() if value.dtype != torch.float64 else value for value in surrogate]
            ).sum().backward()
        for name, value in sample_terms.items():
            terms[name] = terms.get(name, 0) + value.detach()
        encoded[index] = {}
    if replay:
        restore_device_states(end_state)
    return terms


def _sums(weights: list[dict[str, Tensor]], ranks: Ranks) -> dict[str, Tensor]:
    """For each weighted term the sum of its weights over micro-batches and ranks."""
    names = list(weights[0])
    if not names:
        return {}
    local = torch.stack([torch.stack([chunk[name].double().sum() for chunk in weights]).sum() for name in names])
    return dict(zip(names, ranks.mean(local) * ranks.world_size, strict=True))


def _share(
    name: str, values: Tensor, weight: Tensor | None, total: Tensor | None, chunks: int, ranks: Ranks, chunk: Any
) -> Tensor:
    """A micro-batch's part of the mean of a sample term over the whole batch, ranks averaged later."""
    if values.ndim != 1 or len(values) != batch_size(chunk):
        raise ValueError(f"`{name}`: sample_losses must give one number a sample, not {tuple(values.shape)}")
    if weight is None or total is None:
        return values.mean() / chunks
    # All weights 0: nothing is wanted of this batch, so the term is 0 and not 0 / 0.
    return (weight * values).sum() * (ranks.world_size / total.clamp_min(torch.finfo(torch.float32).tiny)).to(values)


def _batch_terms(
    task: Task, encoded: list[Features], targets: list[Features], ranks: Ranks
) -> tuple[dict[str, Tensor], Features]:
    """Values of the batch terms, and their weighted gradients at this rank's features."""
    leaves: Features = {}
    gathered: Features = {}
    for parts, own in ((encoded, True), (targets, False)):
        for name in filter(task.gathers, parts[0]):
            if not all(isinstance(part[name], Tensor) for part in parts):
                raise TypeError(f"feature `{name}` isn't a tensor, and only tensors are gathered; see Task.gathers")
            whole = ranks.gather(_upcast(torch.cat([part[name].detach() if own else part[name] for part in parts])))
            gathered[name] = whole
            if own:
                leaves[name] = whole.requires_grad_(whole.is_floating_point())
    # Losses are computed in full precision: outside autocast, on features of at least 32 bits.
    with _same_draws(ranks):
        losses = task.batch_losses(gathered)
        if not losses:
            return {}, {}
        torch.stack([task.weights[name] * value for name, value in losses.items()]).sum().backward()
    local = {}
    for name, leaf in leaves.items():
        if leaf.grad is not None:
            size = leaf.shape[0] // ranks.world_size
            local[name] = leaf.grad[ranks.rank * size : (ranks.rank + 1) * size]
    return {name: value.detach() for name, value in losses.items()}, local


def _same_draws(ranks: Ranks) -> AbstractContextManager[None]:
    # Ranks have generators of their own, for dropout. A batch term is one term of one batch: what it draws (hard
    # negatives) must be the same on every rank, else each would push its slice of the gradient of another loss.
    if ranks.world_size == 1:
        return nullcontext()
    seeds = ranks.gather(torch.randint(2**62, (1,)).to(ranks.device))
    return drawing_from(int(seeds[0]))


def _upcast(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def _chunk_of(gradients: Features, index: int, count: int) -> Features:
    return {name: gradient.chunk(count)[index] for name, gradient in gradients.items()}


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorm's running statistics still, so that a micro-batch that is encoded twice counts once."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    saved = [
        (m, m.momentum, m.num_batches_tracked.clone() if m.num_batches_tracked is not None else None) for m in norms
    ]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum, count in saved:
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)
