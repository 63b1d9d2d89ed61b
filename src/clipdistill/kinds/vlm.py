"""VLMs: an image tower, a connector and a language model, as LLaVA puts them together.

What stands on transformers is imported when it is needed: every command looks at every kind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.evaluate import vlm_cost
from clipdistill.evaluate.cost import tower_step
from clipdistill.kinds.base import Kind
from clipdistill.models.vlm_names import PREFIX, is_vlm
from clipdistill.recipe import ModelSpec


class VLMKind(Kind):
    """An image tower, a connector and a causal language model (LLaVA)."""

    name = "vlm"
    layouts = ("transformers",)
    storable = False
    recomputes = True

    def new(self, spec: ModelSpec, seed: int, device: torch.device | str = "cpu") -> Any:
        """Put together of a tower and a language model, its connector drawn from the seed; or a trained one."""
        if spec.model is None:
            raise UserError(f"`student.model` is missing: name a VLM, {PREFIX}TOWER+LANGUAGE_MODEL")
        from clipdistill.models.vlm import load_vlm, start_vlm

        if spec.model.startswith(PREFIX):
            return start_vlm(spec.model, seed).to(device)
        return load_vlm(spec.model, device)

    def before(self, spec: ModelSpec, seed: int, device: torch.device | str = "cpu") -> Any | None:
        """The dual encoder through whose tower it sees: the connector is new, so there is no VLM to measure."""
        if spec.model is None or not spec.model.startswith(PREFIX):
            return self.new(spec, seed, device)  # one that is trained further
        from clipdistill.models.vlm.loading import tower_encoder

        found = tower_encoder(spec.model, seed)
        return None if found is None else found.to(device)

    def recognises(self, name: str) -> bool:
        """`vlm:TOWER+LANGUAGE_MODEL`, a folder that `save` wrote, or a RUN that trained one."""
        return is_vlm(name)

    def load(self, name: str | Path, device: torch.device | str = "cpu") -> Any:
        """See `load_vlm`; one that is only put together is refused."""
        from clipdistill.models.vlm import load_vlm

        return load_vlm(name, device)

    def save(self, model: Any, folder: Path) -> None:
        """transformers' layout: weights, configuration, tokenizer and processor."""
        from clipdistill.export.vlm_folder import save_vlm

        save_vlm(model, folder)

    def fingerprint(self, model: Any, features: str = "embedding") -> str:
        """Of weights, configuration, preprocessing and tokenizer."""
        found: str = model.fingerprint()
        return found

    def cost(self, model: Any, device: torch.device | str = "cpu", *, speed: bool = True) -> dict[str, float]:
        """Parameters of tower, connector and language model; FLOPs of a question, pictures a second of the tower."""
        return vlm_cost(model, device=device, repeats=3 if speed else 0)

    def step(self, model: Any, device: torch.device | str, pictures: int) -> Callable[[], Any]:
        """See `evaluate.cost.tower_step`."""
        return tower_step(model, device, pictures)

    def compile(self, model: Any) -> None:
        """The language model, where the time goes."""
        model.language_model.compile()

    def checkpoint_activations(self, model: Any) -> None:
        """Each layer's of the language model."""
        model.language_model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
