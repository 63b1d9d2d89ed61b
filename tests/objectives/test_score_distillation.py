"""L_SDS against numbers worked out on a linear stand-in for the UNet, in float64."""

from __future__ import annotations

import pytest
import torch

from clipdistill.objectives.score_distillation import (
    draw_steps_and_noise,
    feature_regression,
    sds_loss,
    step_range,
    step_weights,
)

ALPHAS = torch.linspace(0.99, 0.05, 10, dtype=torch.float64)
SHAPE = (2, 3, 3)


def problem(draws: int = 2):
    torch.manual_seed(0)
    latents = torch.randn(4, *SHAPE, dtype=torch.float64, requires_grad=True)
    condition = torch.randn(4, 1, 1, dtype=torch.float64)
    matrix = torch.randn(18, 18, dtype=torch.float64)

    def denoise(x: torch.Tensor, _t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) @ matrix.T + c.flatten(1)).view_as(x)

    t, noise = draw_steps_and_noise(torch.arange(4), SHAPE, 10, draws=draws)
    return latents, condition, matrix, denoise, t, noise.double()


@pytest.mark.parametrize("reading", ["noised", "literal"])
@pytest.mark.parametrize("weighting", ["none", "snr"])
def test_value_and_gradient_on_a_linear_denoiser(reading: str, weighting: str) -> None:
    latents, condition, matrix, denoise, t, noise = problem()
    loss = sds_loss(latents, condition, denoise, ALPHAS, t, noise, reading=reading, weighting=weighting).mean()
    loss.backward()
    value, gradient = 0.0, torch.zeros(4, 18, dtype=torch.float64)
    for draw in range(2):
        for i in range(4):
            a = ALPHAS[t[draw, i]]
            z, e = latents[i].detach().flatten(), noise[draw, i].flatten()
            signal, x = (a.sqrt(), a.sqrt() * z + (1 - a).sqrt() * e) if reading == "noised" else (1.0, z)
            w = 1.0 if weighting == "none" else a / (1 - a)
            r = matrix @ x + condition[i, 0, 0] - e
            value += w * (r @ r) / 8
            gradient[i] += 2 * w * signal * (matrix.T @ r) / 8
    assert loss.item() == pytest.approx(value.item(), rel=1e-12)
    torch.testing.assert_close(latents.grad.flatten(1), gradient, rtol=1e-10, atol=1e-12)


def test_read_literally_the_noise_is_a_constant_that_shrinks_the_output() -> None:
    # The mean over the noise is ||epsilon_theta(h)||^2 + const: its gradient knows nothing of the noise.
    latents, condition, matrix, denoise, _, _ = problem()
    noise = torch.randn(4000, *SHAPE, dtype=torch.float64)
    both = torch.stack([noise, -noise]).unsqueeze(2).expand(-1, -1, 4, *SHAPE).flatten(0, 1)
    t = torch.zeros(len(both), 4, dtype=torch.int64)
    sds_loss(latents, condition, denoise, ALPHAS, t, both, reading="literal").mean().backward()
    again = latents.detach().clone().requires_grad_()
    denoise(again, t[0], condition).square().flatten(1).sum(1).mean().backward()
    torch.testing.assert_close(latents.grad, again.grad)


def test_without_the_jacobian_the_gradient_is_dreamfusions() -> None:
    latents, condition, _, denoise, t, noise = problem(draws=1)
    full = sds_loss(latents, condition, denoise, ALPHAS, t, noise).mean()
    short = sds_loss(latents, condition, denoise, ALPHAS, t, noise, jacobian=False).mean()
    assert short.item() == pytest.approx(full.item(), rel=1e-12)
    short.backward()
    a = ALPHAS[t[0]].view(-1, 1, 1, 1)
    with torch.no_grad():
        error = denoise(a.sqrt() * latents + (1 - a).sqrt() * noise[0], t[0], condition) - noise[0]
    torch.testing.assert_close(latents.grad, 2 * a.sqrt() * error / 4)


def test_mean_is_the_sum_over_the_elements() -> None:
    latents, condition, _, denoise, t, noise = problem()
    total = sds_loss(latents, condition, denoise, ALPHAS, t, noise).mean()
    mean = sds_loss(latents, condition, denoise, ALPHAS, t, noise, reduction="mean").mean()
    assert total.item() == pytest.approx(18 * mean.item(), rel=1e-12)


def test_weights_by_hand() -> None:
    share = torch.tensor([0.5, 0.9, 0.0], dtype=torch.float64)
    assert step_weights(share, "none").tolist() == [1, 1, 1]
    assert step_weights(share, "noise").tolist() == pytest.approx([0.5, 0.1, 1])
    assert step_weights(share, "snr").tolist() == pytest.approx([1, 9, 0])
    assert step_weights(share, "min_snr").tolist() == pytest.approx([1, 5 / 9, 1])


@pytest.mark.parametrize(
    ("steps", "low", "high"), [(50, 0.14, 0.58), (100, 0.29, 0.57), (100, 0.07, 0.56), (50, 0.28, 0.98), (1000, 0, 1)]
)
def test_shares_of_the_steps_are_whole_steps_where_they_should_be(steps: int, low: float, high: float) -> None:
    """0.29 * 100 is 28.999999999999996 and 0.07 * 100 is 7.000000000000001: neither may move the range by a step."""
    assert step_range((low, high), steps) == (round(low * steps), round(high * steps))
    assert step_range((0.123, 0.456), 100) == (12, 46)
    assert step_range((0.999, 1.0), 10) == (9, 10)


def test_draws_belong_to_the_sample_and_fill_the_range() -> None:
    seeds = torch.arange(300)
    t, noise = draw_steps_and_noise(seeds, SHAPE, 100, (0.2, 0.5), draws=3)
    assert t.shape == (3, 300) and noise.shape == (3, 300, *SHAPE)
    assert (int(t.min()), int(t.max())) == (20, 49)
    alone, its = draw_steps_and_noise(seeds[7:8], SHAPE, 100, (0.2, 0.5), draws=3)
    assert torch.equal(alone[:, 0], t[:, 7]) and torch.equal(its[:, 0], noise[:, 7])
    assert abs(float(noise.mean())) < 0.03 and abs(float(noise.std()) - 1) < 0.03
    assert draw_steps_and_noise(seeds, SHAPE, 100)[0].max() == 99


def test_feature_regression_by_hand() -> None:
    predicted, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert feature_regression(predicted, target).mean().item() == pytest.approx((5 + 25) / 2)


def test_noise_levels_can_be_drawn_logit_normally_within_their_range() -> None:
    seeds = torch.arange(4000)
    t, noise = draw_steps_and_noise(seeds, (1,), 1000, (0.2, 0.8), t_logit_mean=1.0)
    assert int(t.min()) >= 200 and int(t.max()) < 800
    # The median of a logit-normal place is sigmoid(mean) = 0.7311; of 4,000 draws it is known to about 0.004.
    assert t.double().median().item() == pytest.approx(200 + 600 * 0.7311, abs=8)
    uniform, same = draw_steps_and_noise(seeds, (1,), 1000, (0.2, 0.8))
    assert uniform.double().median().item() == pytest.approx(500, abs=16) and noise.shape == same.shape
    again, _ = draw_steps_and_noise(seeds.flip(0), (1,), 1000, (0.2, 0.8), t_logit_mean=1.0)
    assert torch.equal(again.flip(1), t)
