"""Distillation from several stored teachers: MobileCLIP's dataset reinforcement (CVPR 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives.rows import as_scale, full_precision, mean_over_rows, same_batch, unit_pair


@full_precision
def ensemble_kd(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    teacher_images: Sequence[Tensor],
    teacher_texts: Sequence[Tensor],
    teacher_logit_scales: Sequence[Tensor | float],
    *,
    chunk: int | None = None,
) -> Tensor:
    """KL(mean of the teachers' distributions || student), half image->text and half text->image.

    Each teacher's cosines become a softmax at that teacher's own scale; only then are the K distributions averaged.
    (Averaging logits or features first is another target: a sharp teacher would drown a soft one.)

    The paper's equation averages K divergences, 1/(bK) sum_k KL(S_k || S), where its code takes the distributions'
    mean first. For the student the two are one: they differ by a term of the teachers alone (their Jensen-Shannon
    divergence), so the gradients are equal. The mean comes first here because it costs one log-softmax product
    whatever K is, and because the value is then 0 exactly when the student says what the ensemble says.

    Args:
        image, text: student's, [B, D], un-normalised.
        logit_scale: the student's, exponentiated.
        teacher_images, teacher_texts: K tensors [B, D_k] each, any widths; detached here.
        teacher_logit_scales: K scalars, exponentiated.
        chunk: rows of logits held at a time, None for all.

    Returns:
        Scalar, mean over the batch. The task mixes it with InfoNCE: (1 - lambda) * InfoNCE + lambda * this.

    Source: MobileCLIP, section "dataset reinforcement", the distillation loss; `average_after_softmax` in its code.
    """
    counts = {len(teacher_images), len(teacher_texts), len(teacher_logit_scales)}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"an ensemble needs one image, text and scale a teacher, got {len(teacher_images)} images, "
            f"{len(teacher_texts)} texts and {len(teacher_logit_scales)} scales"
        )
    image, text = unit_pair(image, text, "student")
    images, texts, scales = [], [], []
    for k, (own_image, own_text, own_scale) in enumerate(
        zip(teacher_images, teacher_texts, teacher_logit_scales, strict=True)
    ):
        own_image, own_text = unit_pair(own_image.detach(), own_text.detach(), f"teacher {k}")
        same_batch(image, own_image)
        images.append(own_image.to(image.dtype))
        texts.append(own_text.to(image.dtype))
        scales.append(as_scale(own_scale, image, f"teacher_logit_scales[{k}]").detach())
    scale = as_scale(logit_scale, image)
    image_to_text = mean_over_rows(_rows, (image, *images), (scale, text, *scales, *texts), chunk)
    text_to_image = mean_over_rows(_rows, (text, *texts), (scale, image, *scales, *images), chunk)
    return (image_to_text + text_to_image) / 2


def _rows(_start: int, anchor: Tensor, *others: Tensor) -> Tensor:
    # others: K teacher anchors, the student's scale and contrast, K teacher scales, K teacher contrasts
    k = (len(others) - 2) // 3
    anchors, (scale, contrast) = others[:k], others[k : k + 2]
    scales, contrasts = others[k + 2 : 2 * k + 2], others[2 * k + 2 :]
    student = F.log_softmax(scale * anchor @ contrast.T, dim=1)
    target = torch.zeros_like(student)
    for own_scale, own_anchor, own_contrast in zip(scales, anchors, contrasts, strict=True):
        target = target + (own_scale * own_anchor @ own_contrast.T).softmax(dim=1) / k
    entropy: Tensor = torch.special.entr(target)
    return -(entropy + target * student).sum(dim=1)
