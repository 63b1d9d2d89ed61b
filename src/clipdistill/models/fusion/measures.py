"""What a fusion model is and costs: its fingerprint, its parameters, its arithmetic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clipdistill.models.fusion.base import FusionBase
from clipdistill.models.fusion.batches import fusion_inputs
from clipdistill.models.fusion.clip_adapter import ClipAdapter
from clipdistill.models.fusion.inputs import FusionOutput
from clipdistill.models.measures import counted_flops
from clipdistill.models.measures import parameter_counts as clip_counts

TEXT = ("embeddings.words.", "embeddings.positions.", "embeddings.types.", "embeddings.text_norm.", "heads.words.")
TOWER = "clip.clip.visual."
BOTH = ("embeddings.norm.", "encoder.", "pooler.")


def fingerprint(model: FusionBase) -> str:
    """Return a sha256 over configuration, weights, vocabulary, preprocessing: what decides the answers to pairs."""
    digest = hashlib.sha256(json.dumps(model.config.model_dump(exclude={"tokenizer"}), sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(model.vocabulary_key.encode())
    if model.sees == "pixels":
        digest.update(json.dumps(model.preprocess, sort_keys=True).encode())
    return digest.hexdigest()


def parameter_counts(model: FusionBase) -> dict[str, int]:
    """Count parameters: `total`, `image` (what only pictures or regions go through) and `text` (what only words do).

    CLIP's text tower, which a CLIP-ViL carries along without using it, doesn't count.
    """
    if isinstance(model, ClipAdapter):
        return {**clip_counts(model.clip), "total": sum(value.numel() for value in model.parameters())}
    found = {"total": 0, "image": 0, "text": 0}
    for name, value in model.named_parameters():
        if name.startswith("clip.") and not name.startswith(TOWER):
            continue
        found["total"] += value.numel()
        if name.startswith(TEXT):
            found["text"] += value.numel()
        elif name.startswith(("embeddings.", "heads.region_", TOWER)) and not name.startswith(BOTH):
            found["image"] += value.numel()
    return found


def example(model: FusionBase, pairs: int, words: int = 32, regions: int = 36) -> dict[str, Tensor]:
    """A batch of pairs that a model can read, all alike: `words` words (`text/...`), and what it sees of a picture.

    That is `regions` regions, the whole image among them, or the picture itself, or nothing.
    """
    if isinstance(model, ClipAdapter):
        ids = model.tokenizer(["a"]).expand(pairs, -1)
    else:
        ids = torch.full((pairs, min(words, model.config.positions - 2)), 2)
    none = torch.zeros_like(ids)
    batch = {"text/ids": ids, "text/types": none, "text/mask": none == 0, "text/tags": none - 1}
    objects = {"object_regions": torch.full((pairs, 0), -1)}
    if model.sees == "pixels":
        size: Any = model.preprocess["size"]
        sides = (size, size) if isinstance(size, int) else tuple(size)
        batch |= {"image/student": torch.zeros(pairs, 3, *sides, dtype=torch.uint8), **objects}
    elif model.sees == "regions":
        dtype = next(model.parameters()).dtype
        box = torch.tensor([0.25, 0.25, 0.75, 0.75], dtype=dtype)
        batch |= {
            "regions": torch.zeros(pairs, regions - 1, model.region_width, dtype=dtype),
            "region_boxes": box.expand(pairs, regions - 1, 4),
            "region_mask": torch.ones(pairs, regions - 1, dtype=torch.bool), **objects,
        }  # fmt: skip
    return batch


def run_example(model: FusionBase, batch: Mapping[str, Tensor]) -> Tensor:
    """The pooled vectors [B, D] of `example`, from pictures where the model reads them."""
    output: FusionOutput = model(fusion_inputs(model.see(batch), "text"))
    return output.pooled


@torch.no_grad()
def flops(model: FusionBase) -> int:
    """Return the floating-point operations of one pair (`example`), a multiply-add as two; no heads, no detector."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        with counted_flops() as counter:
            run_example(model, {name: value.to(device) for name, value in example(model, 1).items()})
    finally:
        model.train(was_training)
    return int(counter.get_total_flops())
