"""What a kind of model is: how one is made, opened, saved and measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch

from clipdistill.errors import UserError
from clipdistill.recipe import ModelSpec


class Kind:
    """One kind of model. Its models carry the name as a class attribute `KIND`, by which `kind_of` finds it."""

    name: ClassVar[str]
    layouts: ClassVar[tuple[str, ...]] = ()
    """What a trained model is exported to; where one isn't possible for an architecture it is left out."""
    storable: ClassVar[bool] = True
    """Whether what a teacher of this kind gives can be stored."""
    recomputes: ClassVar[bool] = False
    """Whether it can compute activations again in the backward pass (`train.activation_checkpointing`)."""

    def new(self, spec: ModelSpec, seed: int, device: torch.device | str = "cpu") -> Any:
        """A model as training starts with it: pretrained by name, or with weights drawn from the seed."""
        raise TypeError(f"{type(self).__name__} must define new")

    def before(self, spec: ModelSpec, seed: int, device: torch.device | str = "cpu") -> Any | None:
        """What a student is compared with as it was before training: what `new` gives, where it can be measured.

        Of another kind where only a part of a student was anything before; None where nothing was.
        """
        return self.new(spec, seed, device)

    def open(self, spec: ModelSpec, device: torch.device | str = "cpu", *, bf16: bool = False, role: str = "") -> Any:
        """A model with its weights, to learn from or to start from.

        Args:
            bf16: whether the run computes in bfloat16. role: whose part of a batch it reads, such as `teacher0`.

        Raises:
            UserError: there are none.
        """
        if spec.model is None:
            raise UserError("`model` is missing: name one, or give its folder")
        return self.load(spec.model, device)

    def start_from(self, folder: Path, spec: ModelSpec, device: torch.device | str = "cpu") -> Any:
        """The model that an earlier training left in a folder, as `spec` has it trained further."""
        return self.load(folder, device)

    def recognises(self, name: str) -> bool:
        """Whether a name, folder or RUN is of this kind."""
        raise TypeError(f"{type(self).__name__} must define recognises")

    def load(self, name: str | Path, device: torch.device | str = "cpu") -> Any:
        """Open a trained model by name, folder or RUN."""
        raise TypeError(f"{type(self).__name__} must define load")

    def save(self, model: Any, folder: Path) -> None:
        """Write a model into a folder, in each of its layouts."""
        raise TypeError(f"{type(self).__name__} must define save")

    def fingerprint(self, model: Any, features: str = "embedding") -> str:
        """Hash of all that decides what the model gives: for tower features that of the towers alone."""
        raise TypeError(f"{type(self).__name__} must define fingerprint")

    def cost(self, model: Any, device: torch.device | str = "cpu", *, speed: bool = True) -> dict[str, float]:
        """`parameters`, `image_parameters`, `text_parameters`, and what else this kind can be measured by.

        speed: time it too, by itself; models side by side are timed by `step`.
        """
        raise TypeError(f"{type(self).__name__} must define cost")

    def step(self, model: Any, device: torch.device | str, pictures: int) -> Callable[[], Any] | None:
        """What puts so many pictures through a model on `device`, and waits for it; None for what isn't timed so."""
        return None

    def compile(self, model: Any) -> None:
        """Compile (torch.compile) what a step spends its time on."""
        model.compile()

    def checkpoint_activations(self, model: Any) -> None:
        """Trade time for memory: compute activations again in the backward pass."""
        raise TypeError(f"{type(self).__name__} must define checkpoint_activations, or leave `recomputes` False")
