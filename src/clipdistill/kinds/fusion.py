"""Fusion models: UNITER, VILLA and VL-BERT, which read a text and a picture's regions together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.evaluate import fusion_cost
from clipdistill.evaluate.cost import pair_step
from clipdistill.export import save_student
from clipdistill.kinds.base import Kind
from clipdistill.kinds.dual_encoder import require_weights
from clipdistill.models.fusion import NAMED, create_fusion
from clipdistill.models.fusion.clip_adapter import ClipAdapter
from clipdistill.models.fusion.config import is_config
from clipdistill.models.fusion.measures import fingerprint
from clipdistill.models.fusion.saving import is_fusion, load_fusion, save_fusion
from clipdistill.models.fusion.starting import on_clip, split_name, start_on_clip
from clipdistill.models.loading import load_model
from clipdistill.recipe import ModelSpec


class FusionKind(Kind):
    """One transformer over words and regions."""

    name = "fusion"
    layouts = ("fusion",)
    storable = False
    recomputes = True

    def new(self, spec: ModelSpec, seed: int, device: torch.device | str = "cpu") -> Any:
        """A configuration with weights drawn from the seed, or from a checkpoint; or what stands on a CLIP."""
        if spec.model is None:
            raise UserError(f"`student.model` is missing: name a fusion model, such as {next(iter(NAMED))}")
        if is_config(spec.model):
            return create_fusion(spec.model, seed, device=device)
        name, clip = split_name(spec.model)
        if on_clip(name):
            if clip is None:
                raise UserError(f"model '{name}': it stands on a CLIP; name it too, such as {name}:ViT-B-32:openai")
            clip, _, bert = clip.partition("+")
            require_weights(clip)
            return start_on_clip(name, load_model(clip), seed, bert).to(device)
        return load_fusion(spec.model, device, seed=seed)

    def recognises(self, name: str) -> bool:
        """A configuration's or adapter's name, perhaps with `:` and what fills it, a checkpoint, a folder or a RUN."""
        return is_fusion(name)

    def load(self, name: str | Path, device: torch.device | str = "cpu") -> Any:
        """See `load_fusion`; a configuration's name alone is refused."""
        return load_fusion(name, device)

    def save(self, model: Any, folder: Path) -> None:
        """Weights, configuration and tokenizer; the CLIP too, in `clip/`, where there is one inside."""
        if model.own_clip is not None:
            save_student(model.own_clip, folder / "clip")
        save_fusion(model, folder)

    def fingerprint(self, model: Any, features: str = "embedding") -> str:
        """Of weights, configuration and vocabulary."""
        return fingerprint(model)

    def cost(self, model: Any, device: torch.device | str = "cpu", *, speed: bool = True) -> dict[str, float]:
        """Parameters of either side, FLOPs a pair, pairs a second."""
        return fusion_cost(model, device=device, repeats=5 if speed else 0)

    def step(self, model: Any, device: torch.device | str, pictures: int) -> Callable[[], Any]:
        """See `evaluate.cost.pair_step`."""
        return pair_step(model, device, pictures)

    def compile(self, model: Any) -> None:
        """The layers, or all of an adapter."""
        model.compile() if isinstance(model, ClipAdapter) else model.encoder.compile()

    def checkpoint_activations(self, model: Any) -> None:
        """Each layer's."""
        if isinstance(model, ClipAdapter):
            raise UserError("`train.activation_checkpointing`: an adapter on CLIP has none worth it; set it to false")
        model.set_grad_checkpointing()
