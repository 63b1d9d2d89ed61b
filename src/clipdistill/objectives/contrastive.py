"""The two losses that CLIP-style models are trained with: symmetric InfoNCE and SigLIP's pairwise sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives.rows import as_scale, full_precision, mean_over_rows, unit, unit_pair


@full_precision
def info_nce(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    *,
    negatives: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Symmetric InfoNCE: cross-entropy of picking the own partner, image->text and text->image, averaged.

    Args:
        image, text: [B, D], un-normalised; row i of each belongs together.
        logit_scale: multiplies the cosines (exponentiated already; CLIP learns its logarithm). Scalar.
        negatives: [N, D], un-normalised: further texts that are right for no picture (NegCLIP's hard negatives). They
            stand beside the texts that every picture chooses from, and choose no picture themselves.
        chunk: rows of logits held at a time (see `mean_over_rows`), None for all of [B, B].

    Returns:
        Scalar, mean over the batch; float32, or float64 for float64 features.

    Raises:
        ValueError: shapes that don't fit.

    Source: CLIP (2021), figure 3; equations 1-3 of CLIP-KD; for `negatives` section 4 of ARO (2023).
    """
    image, text = unit_pair(image, text)
    scale = as_scale(logit_scale, image)
    choices = text if negatives is None or not len(negatives) else torch.cat([text, unit(negatives, "negatives")])
    image_to_text = mean_over_rows(contrast_rows, (image,), (choices, scale), chunk)
    text_to_image = mean_over_rows(contrast_rows, (text,), (image, scale), chunk)
    return (image_to_text + text_to_image) / 2


@full_precision
def sigmoid_loss(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    logit_bias: Tensor | float | None = None,
    *,
    chunk: int | None = None,
) -> Tensor:
    """SigLIP's loss: each of the B x B pairs is a yes/no question, yes on the diagonal.

    Args:
        image, text: [B, D], un-normalised.
        logit_scale: multiplies the cosines (exponentiated already). Scalar.
        logit_bias: is added to the logits; None means 0.
        chunk: rows of logits held at a time, None for all.

    Returns:
        Scalar: summed over the texts, averaged over the images, as in the paper.

    Source: SigLIP (2023), section 3.2 and algorithm 1.
    """
    image, text = unit_pair(image, text)
    scale = as_scale(logit_scale, image)
    bias = torch.as_tensor(0.0 if logit_bias is None else logit_bias, device=image.device, dtype=image.dtype)
    if bias.numel() != 1:
        raise ValueError(f"logit_bias must hold one number, got shape {list(bias.shape)}")
    return mean_over_rows(_sigmoid_rows, (image,), (text, scale, bias.reshape(())), chunk)


def contrast_rows(start: int, anchor: Tensor, contrast: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy [b] of unit anchors [b, D] (rows `start` on of the batch) finding their partners in [B, D]."""
    labels = torch.arange(start, start + len(anchor), device=anchor.device)
    return F.cross_entropy(scale * anchor @ contrast.T, labels, reduction="none")


def _sigmoid_rows(start: int, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    logits = scale * image @ text.T + bias
    signs = torch.full_like(logits, -1.0)
    signs.diagonal(start).fill_(1.0)
    return -F.logsigmoid(signs * logits).sum(dim=1)
