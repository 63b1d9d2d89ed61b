"""What a fusion model is and costs: its fingerprint, its parameters, its arithmetic."""

from __future__ import annotations

import hashlib
import json

import torch

from clipdistill.models.fusion.base import FusionBase
from clipdistill.models.fusion.batches import texts_alone
from clipdistill.models.fusion.clip_adapter import ClipAdapter
from clipdistill.models.fusion.inputs import FusionInputs, with_whole_image
from clipdistill.models.measures import counted_flops
from clipdistill.models.measures import parameter_counts as clip_counts

TEXT = ("embeddings.words.", "embeddings.positions.", "embeddings.types.", "embeddings.text_norm.", "heads.words.")
BOTH = ("embeddings.norm.", "encoder.", "pooler.")


def fingerprint(model: FusionBase) -> str:
    """Return a sha256 over configuration, weights and vocabulary: what decides the answers to given pairs."""
    digest = hashlib.sha256(json.dumps(model.config.model_dump(exclude={"tokenizer"}), sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(model.vocabulary_key.encode())
    return digest.hexdigest()


def parameter_counts(model: FusionBase) -> dict[str, int]:
    """Count parameters: `total`, `image` (what only regions go through) and `text` (what only words do)."""
    if isinstance(model, ClipAdapter):
        return {**clip_counts(model.clip), "total": sum(value.numel() for value in model.parameters())}
    found = {"total": 0, "image": 0, "text": 0}
    for name, value in model.named_parameters():
        found["total"] += value.numel()
        if name.startswith(TEXT):
            found["text"] += value.numel()
        elif name.startswith(("embeddings.", "heads.region_")) and not name.startswith(BOTH):
            found["image"] += value.numel()
    return found


def example(model: FusionBase, pairs: int, words: int = 32, regions: int = 36) -> FusionInputs:
    """Pairs of `words` words and `regions` regions (the first the whole image) that a model can read; all alike.

    A model that sees nothing gets no region.
    """
    if isinstance(model, ClipAdapter):
        ids = model.tokenizer(["a"]).expand(pairs, -1)
    else:
        ids = torch.full((pairs, min(words, model.config.positions - 2)), 2)
    if model.sees == "nothing":
        return texts_alone(ids, torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool))
    width = model.region_width
    features, boxes, mask = with_whole_image(
        torch.zeros(pairs, regions - 1, width),
        torch.tensor([0.25, 0.25, 0.75, 0.75]).expand(pairs, regions - 1, 4),
        torch.ones(pairs, regions - 1, dtype=torch.bool),
    )
    return FusionInputs(
        ids, torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool), features, boxes, mask
    ).to("cpu", next(model.parameters()).dtype)  # fmt: skip


@torch.no_grad()
def flops(model: FusionBase) -> int:
    """Return the floating-point operations of one pair (`example`), a multiply-add as two; no heads, no detector."""
    was_training = model.training
    model.eval()
    try:
        with counted_flops() as counter:
            model(example(model, 1).to(next(model.parameters()).device))
    finally:
        model.train(was_training)
    return int(counter.get_total_flops())
