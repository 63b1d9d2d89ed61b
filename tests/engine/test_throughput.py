"""Utilisation is a share: never above 1, whatever the machine did while its peak was measured."""

from __future__ import annotations

import pytest
import torch

from clipdistill.engine.throughput import Throughput, matmul_peak, peak_memory

CPU = torch.device("cpu")


def test_utilisation_is_at_most_one_and_falls_with_the_rate() -> None:
    meter = Throughput(flops_per_sample=1e9, peak=1.0, device=CPU)  # a peak far too low
    meter.count(1000)
    first = meter.read()
    assert first["mfu"] == 1.0 and first["samples_per_second"] > 0
    second = meter.read()  # nothing done since
    assert second["samples_per_second"] == second["mfu"] == 0.0


def test_a_step_counts_three_forward_passes() -> None:
    meter = Throughput(flops_per_sample=2.0, peak=1e30, device=CPU)
    meter.count(10)
    found = meter.read()
    assert found["mfu"] * 1e30 / found["samples_per_second"] == pytest.approx(6.0)


def test_measured_quantities_are_positive() -> None:
    assert matmul_peak(CPU, torch.float32) > 0 and peak_memory(CPU) > 1e6
