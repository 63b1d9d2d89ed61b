"""How fast a run is: samples a second, model FLOP utilisation, peak memory."""

from __future__ import annotations

import resource
import sys
import time

import torch


class Throughput:
    """Counts samples between two readings.

    Args:
        flops_per_sample: forward FLOPs of the student for one pair; a training step counts three times that
            (the usual estimate), whatever the gradient cache or checkpointing computes again.
        peak: FLOP/s that the device reaches on a large matrix product (see `matmul_peak`).
    """

    def __init__(self, flops_per_sample: float, peak: float, device: torch.device) -> None:
        self._flops = 3 * flops_per_sample
        self._peak = peak
        self._device = device
        self._samples = 0
        self._start = time.perf_counter()

    def count(self, samples: int) -> None:
        """Note that `samples` more have been trained on."""
        self._samples += samples

    def read(self) -> dict[str, float]:
        """Rates since the last reading: `samples_per_second`, `mfu` (0..1), `peak_memory_mb`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        rate = self._samples / max(now - self._start, 1e-9)
        self._samples, self._start = 0, now
        # The peak is measured once; a machine that was busy then can do more later. What was reached is reachable.
        self._peak = max(self._peak, rate * self._flops)
        return {
            "samples_per_second": rate,
            "mfu": rate * self._flops / self._peak,
            "peak_memory_mb": peak_memory(self._device) / 1e6,
        }


def peak_memory(device: torch.device) -> int:
    """Most bytes this process has held: on the GPU, or resident in RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product on this device, best of three: the 100 % of model FLOP utilisation here.

    Measured rather than looked up, so that the figure means the same on a laptop and on any GPU.
    """
    size = 8192 if device.type == "cuda" else 1024
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
