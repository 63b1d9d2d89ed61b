"""Every objective gives the same value and gradient inside autocast as outside, also near convergence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

import pytest
import torch
from torch import Tensor, nn

from clipdistill import objectives
from clipdistill.objectives.cosine import cosine_distance
from clipdistill.objectives.itm import matching_loss
from clipdistill.objectives.rkd import rkd_angle, rkd_distance
from clipdistill.objectives.score_distillation import feature_regression, sds_loss
from clipdistill.objectives.targeted import choice_divergence, l1_distance

torch.manual_seed(0)
FUSE = nn.Linear(32, 16)
SHARES = torch.linspace(0.99, 0.01, 10)
STEPS, NOISE = torch.tensor([[1, 4, 6, 8, 9, 3]]), torch.randn(1, 6, 1, 4, 4)

# (student's image and text, teacher's image and text), each [6, 16] -> a loss
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "info_nce": lambda a, b, ta, tb: objectives.info_nce(a, b, 50.0, negatives=tb),
    "sigmoid_loss": lambda a, b, ta, tb: objectives.sigmoid_loss(a, b, 50.0, -10.0),
    "affinity_mimicking": lambda a, b, ta, tb: objectives.affinity_mimicking(a, b, 50.0, ta, tb, 100.0),
    "crd": lambda a, b, ta, tb: objectives.crd(a, b, 50.0, ta, tb, 100.0),
    "ensemble_kd": lambda a, b, ta, tb: objectives.ensemble_kd(a, b, 50.0, [ta, tb], [tb, ta], [100.0, 50.0]),
    "fd": lambda a, b, ta, tb: objectives.fd(a, ta) + objectives.fd(b, tb),
    "mfd": lambda a, b, ta, tb: objectives.mfd(a, ta) + objectives.mfd(b, tb),
    "icl": lambda a, b, ta, tb: objectives.icl(a, b, ta, tb, 50.0),
    "gd": lambda a, b, ta, tb: objectives.gd(a, b, 50.0, ta, tb, 100.0),
    "afd": lambda a, b, ta, tb: objectives.afd(a, b, ta, tb, FUSE, FUSE, 50.0),
    "contrastive_gradients": lambda a, b, ta, tb: torch.stack(objectives.contrastive_gradients(a, b, 50.0)).pow(3),
    "rkd_distance": lambda a, b, ta, tb: rkd_distance(a, ta) + rkd_distance(b, tb),
    "rkd_angle": lambda a, b, ta, tb: rkd_angle(a, ta) + rkd_angle(b, tb),
    "cosine_distance": lambda a, b, ta, tb: cosine_distance(a, ta) + cosine_distance(b, tb),
    "matching_loss": lambda a, b, ta, tb: matching_loss(a[:, :2], b[:, :2]),
    "feature_regression": lambda a, b, ta, tb: feature_regression(a, ta) + feature_regression(b, tb),
    "l1_distance": lambda a, b, ta, tb: l1_distance(a, ta) + l1_distance(b, tb, "sum"),
    "choice_divergence": lambda a, b, ta, tb: choice_divergence(a, ta) + choice_divergence(b, tb),
    "sds_loss": lambda a, b, ta, tb: sds_loss(
        a.view(6, 1, 4, 4), b, lambda x, t, c: x * c.mean() + ta.view_as(x), SHARES, STEPS, NOISE
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_full_precision(name: str) -> None:
    torch.manual_seed(1)
    teacher = torch.randn(2, 6, 16)
    student = (teacher + 0.02 * torch.randn(2, 6, 16)).requires_grad_()
    loss = LOSSES[name](*student, *teacher).sum()
    (expected,) = torch.autograd.grad(loss, student)
    with torch.autocast("cpu", torch.bfloat16):
        inside = LOSSES[name](*student, *teacher).sum()
    (found,) = torch.autograd.grad(inside, student)  # outside, as the engine does it
    assert inside.dtype == torch.float32 and inside.item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


NO_LOSS = {"mask_patches", "contrast_rows", "step_weights"}


def test_every_objective_is_looked_at_or_switches_autocast_off() -> None:
    """A new objective needs no line here: `full_precision` on it is enough."""
    for module in iter_modules(objectives.__path__, "clipdistill.objectives."):
        for name, each in vars(import_module(module.name)).items():
            own = inspect.isfunction(each) and each.__module__ == module.name and not name.startswith("_")
            if own and not module.name.endswith(".rows") and inspect.signature(each).return_annotation == "Tensor":
                assert name in LOSSES or name in NO_LOSS or hasattr(each, "__wrapped__"), f"{name}: add @full_precision"
