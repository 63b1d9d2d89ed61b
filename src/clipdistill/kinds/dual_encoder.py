"""Dual encoders: what CLIP is. By name, from a folder, or joined from two towers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.evaluate import model_cost
from clipdistill.evaluate.cost import picture_step
from clipdistill.export import save_student
from clipdistill.kinds.base import Kind
from clipdistill.models import JoinedEncoder, create_joined, create_model, fingerprint, list_models, load_model
from clipdistill.models.named import WEIGHTS_FOLDER
from clipdistill.recipe import ModelSpec


class DualEncoderKind(Kind):
    """An image tower and a text tower in one embedding space."""

    name = "dual_encoder"
    recomputes = True
    layouts = ("open_clip", "transformers")

    def new(self, spec: ModelSpec, seed: int, device: torch.device | str = "cpu") -> Any:
        """By a configuration's name with drawn weights, by any other name with its own, or joined."""
        if spec.model is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                student = create_joined(joined_spec(spec)).to(device)
            return _locked(student, spec)
        if spec.model in list_models():
            return create_model(spec.model, seed=seed, device=device)
        return load_model(spec.model, device=device)

    def open(self, spec: ModelSpec, device: torch.device | str = "cpu", *, bf16: bool = False, role: str = "") -> Any:
        """Loaded, or joined from parts; a name without weights is refused."""
        if spec.model is None:
            # Its projections are new: of a seed, so that a store of what it says fits it the next time.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return create_joined(joined_spec(spec)).to(device)
        require_weights(spec.model)
        return load_model(spec.model, device=device)

    def start_from(self, folder: Path, spec: ModelSpec, device: torch.device | str = "cpu") -> Any:
        """A joined one with its towers locked again."""
        return _locked(self.load(folder, device), spec)

    def recognises(self, name: str) -> bool:
        """Whatever no other kind takes."""
        return True

    def load(self, name: str | Path, device: torch.device | str = "cpu") -> Any:
        """See `load_model`."""
        return load_model(name, device=device)

    def save(self, model: Any, folder: Path) -> None:
        """open_clip's layout, and transformers' where the architecture is CLIP's."""
        save_student(model, folder)

    def fingerprint(self, model: Any, features: str = "embedding") -> str:
        """Of weights, preprocessing and tokenizer; of the towers alone for tower features."""
        return fingerprint(model, towers_only=features == "tower")

    def cost(self, model: Any, device: torch.device | str = "cpu", *, speed: bool = True) -> dict[str, float]:
        """Parameters, FLOPs a pair, pictures a second."""
        return model_cost(model, device=device, repeats=5 if speed else 0)

    def step(self, model: Any, device: torch.device | str, pictures: int) -> Callable[[], Any]:
        """See `evaluate.cost.picture_step`."""
        return picture_step(model, device, pictures)

    def compile(self, model: Any) -> None:
        """Both towers."""
        model.encode_image = torch.compile(model.encode_image)
        model.encode_text = torch.compile(model.encode_text)

    def checkpoint_activations(self, model: Any) -> None:
        """Both towers."""
        model.set_grad_checkpointing(True)


def _locked(model: Any, spec: ModelSpec) -> Any:
    """A joined model with the towers locked that `spec` names; any other as it is."""
    if isinstance(model, JoinedEncoder):
        model.lock_towers(image="image" in spec.locked, text="text" in spec.locked)
    return model


def joined_spec(spec: ModelSpec) -> dict[str, Any]:
    """The part of a model spec that describes a joined model."""
    return spec.model_dump(exclude={"model", "store", "meta", "locked"})


def require_weights(name: str) -> None:
    """Refuse the plain name of a configuration, which opens with random weights: nothing to learn from or measure.

    Raises:
        UserError: with the pretrained tags that the name has.
    """
    if name.replace("/", "-") not in list_models() or Path(name).is_dir() or (WEIGHTS_FOLDER / name).is_dir():
        return
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name.replace("/", "-"))
    fix = f"add a pretrained tag, such as {name}:{tags[0]}" if tags else "give the folder of a trained one"
    raise UserError(f"model '{name}': a name alone has random weights; {fix}")
