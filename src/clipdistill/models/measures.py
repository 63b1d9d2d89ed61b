"""What a model is and costs: its fingerprint, its parameters, its arithmetic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clipdistill.models.dual_encoder import DualEncoder


def fingerprint(model: DualEncoder, *, towers_only: bool = False) -> str:
    """Return a sha256 over weights, preprocessing and tokenizer: what decides the embeddings of given data.

    The same weights in another precision have another fingerprint; the device and the model's name don't matter.

    Args:
        towers_only: leave out projections, logit scale and bias: what decides the tower features of a JoinedEncoder.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.clip.state_dict().items()):
        if towers_only and not name.startswith(("visual.trunk.", "text.transformer.")):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps(model.preprocess, sort_keys=True).encode())
    digest.update(model.tokenizer_key.encode())
    return digest.hexdigest()


def parameter_counts(model: DualEncoder) -> dict[str, int]:
    """Count parameters, trainable or not: `image` and `text` tower (projections included) and `total`.

    The total also holds what belongs to neither tower: logit scale and bias, CoCa's decoder.
    """
    image = sum(p.numel() for p in model.clip.visual.parameters())
    text_names = ("text.", "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
    text = sum(p.numel() for name, p in model.clip.named_parameters() if name.startswith(text_names))
    return {"total": sum(p.numel() for p in model.clip.parameters()), "image": image, "text": text}


@torch.no_grad()
def flops_per_pair(model: DualEncoder) -> int:
    """Return the floating-point operations to embed one image and one text (a multiply-add counts as two)."""
    device = next(model.parameters()).device
    height, width = model.preprocess["size"]
    pixels = torch.zeros(1, 3, height, width, dtype=torch.uint8, device=device)
    tokens = model.tokenizer(["a"]).to(device)
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with counted_flops() as counter:
            model.encode_image(pixels)
            model.encode_text(tokens)
    finally:
        for module in was_training:
            module.training = True
    return int(counter.get_total_flops())


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Count the floating-point operations of what runs inside."""
    with _plain_attention(), FlopCounterMode(display=False) as counter:
        yield counter


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keep attention on the plain formula: the counter can't see into the fused kernels of CPUs."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
