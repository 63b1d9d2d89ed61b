"""Score distillation: the loss of a frozen denoiser as a function of what it is given, and the random draws for it.

torch only: the denoiser is a callable, so that a linear stand-in can take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_t [B, c, h, w], t int64 [B], condition [B, L, C]) -> epsilon [B, c, h, w], differentiable in x_t."""

SEEDS = 2**62
"""Seeds of single samples are drawn below this."""

Weighting = Literal["none", "snr", "min_snr", "noise"]


def draw_steps_and_noise(
    seeds: Tensor,
    shape: tuple[int, ...],
    steps: int,
    t_range: tuple[float, float] = (0.0, 1.0),
    draws: int = 1,
    t_logit_mean: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw noise levels and noise, each sample's from a seed of its own.

    A sample's draws therefore don't depend on which micro-batch it is in, nor on the device.

    Args:
        seeds: int64 [B]. shape: of a sample. steps: T.
        t_range: the share of the steps that t is drawn from: [floor(low T), ceil(high T)).
        t_logit_mean: None draws t uniformly; a number draws the place within the range from the logit-normal
            distribution with this mean and deviation 1 (Stable Diffusion 3, 2024, section 3.1): above 0, more of the
            high noise levels.

    Returns:
        t int64 [draws, B] and noise float32 [draws, B, *shape], on the device of `seeds`.
    """
    low, high = step_range(t_range, steps)
    times, noises = [], []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(seed)
        if t_logit_mean is None:
            times.append(torch.randint(low, high, (draws,), generator=generator))
        else:
            place = torch.sigmoid(t_logit_mean + torch.randn(draws, generator=generator, dtype=torch.float64))
            times.append((low + place * (high - low)).long().clamp(max=high - 1))
        noises.append(torch.randn(draws, *shape, generator=generator))
    return torch.stack(times, 1).to(seeds.device), torch.stack(noises, 1).to(seeds.device)


def step_range(t_range: tuple[float, float], steps: int) -> tuple[int, int]:
    """[low, high) of the steps in a share of them: [floor(low T), ceil(high T)), at least one step.

    Products are rounded first: 0.29 * 100 is 28.999999999999996, and its floor shall be 29.
    """
    low = min(math.floor(round(t_range[0] * steps, 6)), steps - 1)
    return low, max(low + 1, min(steps, math.ceil(round(t_range[1] * steps, 6))))


def step_weights(share: Tensor, weighting: Weighting) -> Tensor:
    """w(t) at signal shares `share` = alpha-bar of any shape, relative to the plain loss on epsilon.

    `none`: 1. `noise`: 1 - alpha-bar (DreamFusion, 2022). `snr`: alpha-bar / (1 - alpha-bar). `min_snr`:
    min(SNR, 5) / SNR (Min-SNR, 2023), whose limit at alpha-bar 0 is 1.
    """
    if weighting == "none":
        return torch.ones_like(share)
    if weighting == "noise":
        return 1 - share
    snr = share / (1 - share).clamp(min=1e-12)
    return snr if weighting == "snr" else 5 / snr.clamp(min=5)


def sds_loss(
    latents: Tensor,
    condition: Tensor,
    denoise: Denoiser,
    alphas_cumprod: Tensor,
    t: Tensor,
    noise: Tensor,
    *,
    reading: Literal["noised", "literal"] = "noised",
    weighting: Weighting = "none",
    reduction: Literal["sum", "mean"] = "sum",
    jacobian: bool = True,
) -> Tensor:
    """E ||epsilon_theta(x, t, c) - epsilon||^2, differentiable in the latents (SDS-CLIP, equation 3).

    Args:
        latents: h_w(f(x)), [B, c, h, w]. condition: [B, L, C]. alphas_cumprod: [T].
        t: int64 [draws, B]. noise: [draws, B, c, h, w].
        reading: `noised` gives the denoiser the latent noised to step t, as equation 1 and score distillation mean it;
            `literal` gives it the latent itself, as equation 3 is printed.
        reduction: over a latent's elements: the sum is the printed squared norm, the mean what diffusion training uses.
        jacobian: False leaves the denoiser's Jacobian out of the gradient (DreamFusion's equation 3): the loss has the
            same value, the gradient costs no backward pass.

    Returns:
        [B]: for each sample the mean over draws.
    """
    latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
    total = latents.new_zeros(len(latents))
    for times, eps in zip(t, noise, strict=True):
        share = alphas_cumprod.to(latents.device)[times].to(latents.dtype).view(-1, *[1] * (latents.ndim - 1))
        eps = eps.to(latents.dtype)
        given = share.sqrt() * latents + (1 - share).sqrt() * eps if reading == "noised" else latents
        with torch.set_grad_enabled(jacobian and torch.is_grad_enabled()):
            error = denoise(given, times, condition).to(latents.dtype) - eps
        # Without the Jacobian: the value of error^2 with the gradient of 2 * error * x_t.
        squares = error.square() if jacobian else error.square() + 2 * error * (given - given.detach())
        each = (step_weights(share, weighting) * squares).flatten(1)
        total = total + (each.sum(1) if reduction == "sum" else each.mean(1))
    return total / len(t)


def feature_regression(predicted: Tensor, target: Tensor) -> Tensor:
    """||h_w(f(x)) - I(x, c)||^2 over the width, [B] (SDS-CLIP, equation 6): [B, D] each."""
    wide = torch.promote_types(predicted.dtype, torch.float32)
    return (predicted.to(wide) - target.to(wide)).square().sum(-1)
