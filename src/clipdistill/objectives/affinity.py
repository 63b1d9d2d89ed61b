"""TinyCLIP's affinity mimicking (ICCV 2023)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives.rows import as_scale, full_precision, mean_over_rows, same_batch, unit_pair


@full_precision
def affinity_mimicking(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    teacher_image: Tensor,
    teacher_text: Tensor,
    teacher_logit_scale: Tensor | float,
    *,
    variant: Literal["paper", "released"] = "paper",
    chunk: int | None = None,
) -> Tensor:
    """Cross-entropy between the teacher's and the student's image-text affinities, both directions.

    An affinity is the row-wise softmax of cosines at the model's own temperature, image->text and text->image. It is
    the plain cross-entropy, as the paper's equations 1-3 say, and not the KL divergence: the teacher's entropy stays
    in the value (the gradient is the same), so the loss doesn't fall to 0. `crd` is the divergence.

    Args:
        image, text: student's, [B, D], un-normalised.  teacher_image, teacher_text: [B, D'], detached here.
        logit_scale, teacher_logit_scale: each side's own, exponentiated (1 / temperature).
        variant: "paper" adds the two directions (equation 1); "released" averages them, as the published code does.
        chunk: rows of logits held at a time, None for all.

    Returns:
        Scalar, mean over the batch.
    """
    if variant not in ("paper", "released"):
        raise ValueError(f"variant must be 'paper' or 'released', got {variant!r}")
    image, text = unit_pair(image, text, "student")
    taught_image, taught_text = unit_pair(teacher_image.detach(), teacher_text.detach(), "teacher")
    same_batch(image, taught_image)
    taught_image, taught_text = taught_image.to(image.dtype), taught_text.to(image.dtype)
    scale = as_scale(logit_scale, image)
    taught_scale = as_scale(teacher_logit_scale, image, "teacher_logit_scale").detach()
    total = mean_over_rows(_rows, (image, taught_image), (text, taught_text, scale, taught_scale), chunk)
    total = total + mean_over_rows(_rows, (text, taught_text), (image, taught_image, scale, taught_scale), chunk)
    return total if variant == "paper" else total / 2


def _rows(
    _start: int,
    anchor: Tensor,
    taught_anchor: Tensor,
    contrast: Tensor,
    taught_contrast: Tensor,
    scale: Tensor,
    taught_scale: Tensor,
) -> Tensor:
    affinity = (taught_scale * taught_anchor @ taught_contrast.T).softmax(dim=1)
    return F.cross_entropy(scale * anchor @ contrast.T, affinity, reduction="none")
