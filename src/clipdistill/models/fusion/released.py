"""The authors' checkpoints of UNITER, VILLA, VL-BERT and BERT: read, recognised, loaded, and written back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.models.fusion.config import Architecture, FusionConfig, HeadName, fusion_config
from clipdistill.models.fusion.model import FusionModel
from clipdistill.models.fusion.names import HEADS, NOT_OURS, TIED, Stage, names_of, renamed

State = dict[str, Tensor]
WRAPPERS = ("model_state", "state_dict", "model")
CASED = {28996: "bert-base-cased", 28996 + 81: "bert-base-cased", 30522: "bert-base-uncased"}


@dataclass(frozen=True)
class Released:
    """A checkpoint of the authors', with our names.

    Attributes:
        architecture, stage: what it is of, told from its names. state: our names -> weights.
        unknown: keys that belong to nothing here.
    """

    architecture: Architecture
    stage: Stage
    state: State
    unknown: tuple[str, ...]


def read_released(path: str | Path) -> State:
    """Read a state dict from a `.pt`, `.model` or `.safetensors` file, never running what a pickle asks for.

    Returns:
        The authors' names -> tensors, as they stand there. A file that wraps them (`model_state`, `state_dict`), with
        an optimizer beside them or not, is unwrapped.

    Raises:
        UserError: missing, damaged, or more than tensors in it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: this checkpoint doesn't exist; give an existing .pt, .model or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        line = next((each.strip() for each in str(error).splitlines() if each.strip()), type(error).__name__)
        raise UserError(f"{path}: can't be read as weights ({line[:160]}); fetch the file again") from error
    for wrapper in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path}: holds no state dict of tensors; give a checkpoint of UNITER, VILLA or VL-BERT")
    return dict(found)


def from_released(state: Mapping[str, Tensor], where: str = "checkpoint") -> Released:
    """Give a checkpoint's weights our names.

    Prefixes (`module.`, `bert.`, `_module.`) are stripped, gamma and beta are weight and bias.

    Raises:
        UserError: it is of neither UNITER, VL-BERT nor BERT.
    """
    clean = {_clean(key): value for key, value in state.items()}
    if any(key.startswith("vlbert.") for key in clean):
        architecture: Architecture = "vl_bert"
    elif any(".img_embeddings." in key for key in clean):
        architecture = "uniter"
    elif "uniter.embeddings.word_embeddings.weight" in clean:
        architecture = "bert"
        clean = {f"bert.{key.removeprefix('uniter.')}" if has([key], "uniter.") else key: clean[key] for key in clean}
    else:
        first = next(iter(state), "nothing")
        raise UserError(f"{where}: has neither UNITER's, VL-BERT's nor BERT's weights, such as {first}")
    stage = _stage(architecture, clean)
    theirs = {new: old for old, new in names_of(architecture, stage).items()}
    tied = {name for name, _ in TIED[architecture].values()}
    found: State = {}
    unknown = []
    for key, value in clean.items():
        ours = renamed(key, theirs)
        if ours is not None:
            found[ours] = value[1] if ours == "embeddings.masked_feature" and architecture == "uniter" else value
        elif key not in tied and not key.startswith(NOT_OURS[architecture]):
            unknown.append(key)
    return Released(architecture, stage, found, tuple(unknown))


def to_released(model: FusionModel, stage: Stage) -> State:
    """A model's weights under the authors' names for a stage: trunk, and those of the stage's heads that it has.

    UNITER's table of mask embeddings gets its row of zeros, and tied matrices stand twice, as in the authors' files.
    VL-BERT's VCR model gets the `_module.` of its wrapper.
    """
    architecture = model.config.architecture
    table = names_of(architecture, stage)
    ours = model.state_dict()
    found: State = {}
    for key, value in ours.items():
        name = renamed(key, table)
        if name is None:
            continue
        if key == "embeddings.masked_feature" and architecture == "uniter":
            value = torch.stack([torch.zeros_like(value), value])
        if architecture == "vl_bert" and stage == "vcr":
            name = name.replace("vlbert.", "vlbert._module.", 1) if name.startswith("vlbert.") else name
        found[name] = value
    for head, (name, of) in TIED[architecture].items():
        if head in HEADS[architecture][stage] and head in model.heads:
            found[name] = ours[of]
    return found


def released_config(found: Released, where: str = "checkpoint") -> FusionConfig:
    """The configuration of a checkpoint, from its shapes; a head of attention is 64 wide in all of them.

    Raises:
        UserError: a weight that decides a shape is missing.
    """
    state = found.state
    try:
        vocabulary, width = state["embeddings.words.weight"].shape
        layers = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.layer."))
        fields: dict[str, Any] = {
            "architecture": found.architecture, "vocabulary": vocabulary, "width": width, "layers": layers,
            "attention_heads": max(width // 64, 1), "positions": len(state["embeddings.positions.weight"]),
            "hidden": len(state["encoder.layer.0.intermediate.dense.weight"]),
            "types": len(state["embeddings.types.weight"]),
        }  # fmt: skip
        if found.architecture == "vl_bert":
            region = state["embeddings.region.weight"]
            # Half of the input are sines and cosines in the released models: 8 * 256 beside 2,048 features.
            fields |= {"coordinates": region.shape[1] // 16, "region_width": region.shape[1] // 2}
            fields["visual_width"] = None if len(region) == width else len(region)
        elif found.architecture == "uniter":
            fields["region_width"] = state["embeddings.feature.weight"].shape[1]
    except (KeyError, ValueError) as error:
        raise UserError(f"{where}: lacks {error}, without which its shapes aren't known; fetch it again") from error
    heads = {name: _outputs(state, name) for name in get_args(HeadName) if has(state, f"heads.{name}.")}
    size = "large" if width >= 1024 else "base"
    tokenizer = CASED.get(vocabulary, "bert-base-uncased").replace("base", size)
    cased = tokenizer.endswith("-cased")
    return fusion_config({**fields, "heads": heads, "tokenizer": tokenizer, "lower_case": not cased})


def rows(state: Mapping[str, Tensor], key: str) -> int:
    """How many rows a weight has; 0 where it isn't there."""
    return len(state[key]) if key in state else 0


def _clean(key: str) -> str:
    parts = key.removeprefix("module.").replace("vlbert._module.", "vlbert.", 1).split(".")
    parts[-1] = {"gamma": "weight", "beta": "bias"}.get(parts[-1], parts[-1])
    if parts[0] == "bert":
        parts[0] = "uniter"
    elif parts[0] in ("embeddings", "img_embeddings", "encoder", "pooler"):
        parts.insert(0, "uniter")
    return ".".join(parts)


def _stage(architecture: Architecture, keys: Mapping[str, Tensor]) -> Stage:
    """Told from the head; three answers of the VQA head are SNLI-VE's classes."""
    if architecture == "bert":
        return "pretraining"
    if architecture == "uniter":
        if has(keys, "vcr_output."):
            return "vcr"
        answers = keys.get("vqa_output.3.weight")
    else:
        if has(keys, "cnn_loss_reg."):
            return "vcr"
        if "final_mlp.1.weight" in keys:
            return "snli_ve" if len(keys["final_mlp.1.weight"]) == 3 else "vcr"
        answers = keys.get("final_mlp.2.weight")
    if answers is None:
        return "pretraining"
    return "snli_ve" if len(answers) == 3 and architecture == "uniter" else "vqa"


def _outputs(state: Mapping[str, Tensor], head: str) -> int:
    return rows(state, f"heads.{head}.out.weight")


def has(keys: Iterable[str], beginning: str) -> bool:
    """Whether a key begins so."""
    return any(key.startswith(beginning) for key in keys)
