"""A model with random weights that stands for one of published shape, before it is written: its size is known first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError

FROZEN, TRAINED = 8, 24
"""Bytes a weight: the model, and its file while that is read; gradients, moments and a checkpoint's copies besides."""
BESIDES = 2e9
"""Bytes for the program itself, a batch and its activations."""


@dataclass(frozen=True)
class Draft:
    """What will lie at `name`, relative to the rehearsal's folder, once `write` is called.

    Attributes:
        parameters: weights. write: makes it; None = nothing has to be made. trained: whether the run trains it.
        note: what about it isn't as published, in a sentence; empty = nothing.
    """

    name: str
    parameters: int
    write: Callable[[], None] | None = None
    trained: bool = False
    note: str = ""


def memory_of(drafts: list[Draft]) -> float:
    """About how many bytes a run with these models takes."""
    return BESIDES + sum(each.parameters * (TRAINED if each.trained else FROZEN) for each in drafts)


def weights_of(make: Callable[[], Any]) -> int:
    """How many weights a model has; it is made without memory for them, where its library can do that.

    Raises:
        UserError: it can't be made.
    """
    try:
        with torch.device("meta"):
            model = make()
    except Exception:  # some architectures compute with numbers while they are made
        model = make()
    return sum(parameter.numel() for parameter in model.parameters())


def fewer(layers: int, divide: int) -> int:
    """So many layers instead of `layers`, where a model has to be `divide` times smaller."""
    return max(1, layers // divide)


def unknown(name: str, what: str) -> UserError:
    """The error for a model whose shape nothing on this machine says."""
    return UserError(
        f"model '{name}': nothing on this machine says its shape, so it can't be rehearsed; fetch {what}, or name "
        "another model of that size"
    )


def there(name: str) -> bool:
    """Whether something of that name lies in the rehearsal's folder (the current one), or anywhere by a whole path."""
    return Path(name).exists()
