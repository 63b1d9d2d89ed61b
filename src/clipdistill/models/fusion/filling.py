"""Putting the weights of the authors' checkpoints into a model: what is widened, adopted, or may be missing."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.models.fusion.config import HeadName
from clipdistill.models.fusion.model import FusionModel
from clipdistill.models.fusion.names import MAY_LACK
from clipdistill.models.fusion.released import Released, State, has, rows


def fill(model: FusionModel, found: Released, where: str = "checkpoint") -> tuple[list[str], list[str]]:
    """Put a checkpoint's weights into a model; where it has more type rows or words than the checkpoint, widen.

    Further type rows start as row 0, as the authors start VCR's answer and rationale; further words (VCR's object tags)
    keep the model's draw. A head that only one side has is left as it is, but VL-BERT's pretraining heads give their
    hidden layers to fine-tuning (masked words to the answers, region classes to VCR's object classes), as the authors'
    do, and VCR's answers the type of its questions. VL-BERT's files may lack a pooler and masked regions' vectors.

    Returns:
        Heads of the model that keep their start, heads of the checkpoint that are left aside.

    Raises:
        UserError: another architecture; weights that are missing, unknown or of another shape, all of them in one line.
    """
    config = model.config
    if found.architecture != config.architecture:
        raise UserError(f"{where}: is of {found.architecture}, and the model is {config.architecture}; give its own")
    wanted = model.state_dict()
    apart = {name for name in get_args(HeadName) if has(found.state, f"heads.{name}.") != (name in model.heads)}
    state = {key: value for key, value in found.state.items() if _head(key) not in apart}
    state = {key: _widened(key, value, wanted.get(key)) for key, value in state.items()}
    lack = MAY_LACK[config.architecture]
    if config.architecture == "vl_bert" and found.stage == "pretraining":
        state |= _adopted(model, found.state)
        if rows(state, "heads.region_classes.out.weight") != rows(wanted, "heads.region_classes.out.weight"):
            # Pretraining tells Visual Genome's classes, VCR's auxiliary loss COCO's: the hidden layer alone goes on.
            lack = (*lack, "heads.region_classes.out.")
            state = {key: value for key, value in state.items() if not key.startswith("heads.region_classes.out.")}
    missing = [key for key in wanted if key not in state and _head(key) not in apart and not key.startswith(lack)]
    extra = [*found.unknown, *(key for key in state if key not in wanted)]
    wrong = [
        f"{key} is {_shape(value)} and not {_shape(wanted[key])}"
        for key, value in state.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    if missing or extra or wrong:
        parts = [_listed("missing", missing), _listed("unknown", extra), _listed("of another shape", wrong)]
        raise UserError(f"{where}: doesn't fit '{model.name}': {'; '.join(filter(None, parts))}")
    model.load_state_dict(state, strict=False)
    return sorted(apart & set(model.heads)), sorted(apart - set(model.heads))


def fill_from_bert(model: FusionModel, found: Released, where: str = "checkpoint") -> None:
    """Start a model from a BERT: words, positions, types, their LayerNorm, the first of its layers and the pooler.

    So UNITER and VL-BERT started before their pretraining. What only regions go through, and heads, keep their draw (a
    masked language model has no pooler, and it does too);
    rows of types and words that BERT hasn't got are made as in `fill`. A deeper BERT gives its first layers.

    Raises:
        UserError: it has fewer layers or positions, or other widths, named in one line.
    """
    wanted = model.state_dict()
    state = {key: value for key, value in found.state.items() if _head(key) is None}
    if model.config.architecture == "vl_bert":
        state = {key.replace("text_norm", "norm"): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if key in wanted}
    positions = "embeddings.positions.weight"
    state[positions] = state[positions][: len(wanted[positions])]
    state = {key: _widened(key, value, wanted[key]) for key, value in state.items()}
    apart = ("embeddings.", "heads.", "pooler.", "clip.")
    missing = [key for key in wanted if key not in state and not key.startswith(apart)]
    wrong = [f"{k} is {_shape(v)} and not {_shape(wanted[k])}" for k, v in state.items() if v.shape != wanted[k].shape]
    if missing or wrong:
        parts = [_listed("missing", missing), _listed("of another shape", wrong)]
        raise UserError(f"{where}: this BERT can't start '{model.name}': {'; '.join(filter(None, parts))}")
    model.load_state_dict(state, strict=False)


def _adopted(model: FusionModel, state: State) -> State:
    """What VL-BERT's pretraining gives to fine-tuning besides the trunk, as the authors' code has it.

    The answer head starts with the hidden layer that guessed masked words; VCR's answers start with the type of its
    questions, since captions had that one alone.
    """
    found: State = {}
    if "vqa" in model.heads:
        beginnings = ("heads.words.hidden.", "heads.words.norm.")
        found |= {key.replace("words", "vqa", 1): value for key, value in state.items() if key.startswith(beginnings)}
    if "vcr" in model.heads and rows(state, "embeddings.types.weight") == 3:
        types = state["embeddings.types.weight"]
        found["embeddings.types.weight"] = torch.stack([types[0], types[0], types[2]])
    return found


def _head(key: str) -> str | None:
    return key.split(".")[1] if key.startswith("heads.") else None


def _widened(key: str, value: Tensor, wanted: Tensor | None) -> Tensor:
    """`value` with the rows that `wanted` has more: types as row 0, words (and their bias) as the model drew them."""
    if wanted is None or len(value) >= len(wanted) or value.shape[1:] != wanted.shape[1:]:
        return value
    if key == "embeddings.types.weight":
        return torch.cat([value, value[:1].expand(len(wanted) - len(value), -1)])
    if key in ("embeddings.words.weight", "heads.words.bias"):
        return torch.cat([value, wanted[len(value) :].to(value)])
    return value


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape))


def _listed(what: str, names: list[str], most: int = 5) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what}: {', '.join(names[:most])}{more}"
