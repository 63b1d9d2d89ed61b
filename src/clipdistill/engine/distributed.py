"""What ranks exchange: features before the batch losses, gradients after the replay.

A rank that is killed, fails or hangs ends the others with one line, and none of them outlives the launcher.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn

from clipdistill.errors import UserError
from clipdistill.waits import limit, too_long

WATCH = "clipdistill: looks whether the launcher lives"
GO_ON = "go on with the same command; a training wants --resume too"


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
        """The ranks that the launcher set up.

        Raises:
            UserError: the others don't come.
        """
        with _together():
            # Without a GPU accelerate joins the launcher's processes (gloo) only when told that the CPU is meant.
            state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(seconds=limit("RANKS")))
        if state.num_processes > 1:
            _end_with_the_launcher()
        return cls(state.process_index, state.num_processes, state.device)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            with _together():
                dist.barrier()

    def gather(self, values: Tensor) -> Tensor:
        """Concatenate `values` [b, ...] of every rank, in rank order: [world_size * b, ...]. No gradient."""
        if self.world_size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world_size)]
        with _together():
            dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank (a signal may reach one process before another)."""
        if self.world_size == 1:
            return flag
        value = torch.tensor([float(flag)], device=self.device)
        with _together():
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
            return bool(value.item())

    def objects(self, value: object) -> list[Any]:
        """The values of every rank, in order, on every rank."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        with _together():
            dist.all_gather_object(found, value)
        return found

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks of a tensor that every rank has."""
        if self.world_size > 1:
            values = values.clone()
            with _together():
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
        with _together():
            dist.all_reduce(flat)
        flat /= self.world_size
        for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))

    def broadcast_module(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers."""
        if self.world_size > 1:
            with torch.no_grad(), _together():
                for tensor in (*module.parameters(), *module.buffers()):
                    dist.broadcast(tensor.data, src=0)


@contextmanager
def _together() -> Iterator[None]:
    """Turn what a backend raises when a peer is gone, or doesn't answer, into one line that says how to go on."""
    try:
        yield
    except dist.DistError as error:
        raise UserError(_lost(str(error))) from error
    except RuntimeError as error:  # gloo's own
        if not any(word in str(error) for word in ("gloo", "Connection", "Timed out", "Socket")):
            raise
        raise UserError(_lost(str(error))) from error


def _lost(said: str) -> str:
    if "imed out" in said or "imeout" in said:
        return (
            f"a process that trains with this one hasn't answered for {too_long('RANKS')}; it hangs or is at other "
            f"work. See to it, and {GO_ON}"
        )
    return (
        f"a process that trains with this one has ended; what it said stands with its own lines. {GO_ON.capitalize()}"
    )


def _end_with_the_launcher(every: float = 1.0) -> None:
    """Send this process one SIGTERM when torchrun or accelerate is gone: a training writes a checkpoint and stops.

    The system's own PR_SET_PDEATHSIG sends one for each thread that the launcher had, and the second ends it at once.
    """
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGTERM)

    if not any(thread.name == WATCH for thread in threading.enumerate()):
        threading.Thread(target=look, name=WATCH, daemon=True).start()
