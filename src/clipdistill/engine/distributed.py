"""What ranks exchange: features before the batch losses, gradients after the replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    """This process among its peers; `accelerate launch` and `torchrun` set it, plain Python is rank 0 of 1."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @classmethod
    def current(cls) -> Ranks:
        """The ranks that the launcher set up."""
        # Without a GPU accelerate joins the launcher's processes (gloo) only when told that the CPU is meant.
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            dist.barrier()

    def gather(self, values: Tensor) -> Tensor:
        """Concatenate `values` [b, ...] of every rank, in rank order: [world_size * b, ...]. No gradient."""
        if self.world_size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank (a signal may reach one process before another)."""
        if self.world_size == 1:
            return flag
        value = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def objects(self, value: object) -> list[Any]:
        """The values of every rank, in order, on every rank."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks of a tensor that every rank has."""
        if self.world_size > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def average_gradients(self, parameters: Iterable[nn.Parameter], bucket_bytes: int = 64 << 20) -> None:
        """Average gradients over ranks, in flat buckets; a parameter without one on this rank counts as 0."""
        if self.world_size == 1:
            return
        bucket: list[Tensor] = []
        size = 0
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradient = parameter.grad
            if bucket and (size > bucket_bytes or bucket[0].dtype != gradient.dtype):
                self._reduce(bucket)
                bucket, size = [], 0
            bucket.append(gradient)
            size += gradient.numel() * gradient.element_size()
        if bucket:
            self._reduce(bucket)

    def _reduce(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world_size
        for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))

    def broadcast_module(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers."""
        if self.world_size > 1:
            with torch.no_grad():
                for tensor in (*module.parameters(), *module.buffers()):
                    dist.broadcast(tensor.data, src=0)
