"""The distillation losses of CLIP-KD (CVPR 2024): CRD, FD, MFD, ICL, GD and AFD.

All take un-normalised features [B, D] and normalise them inside. Scales are exponentiated already: they multiply
cosines (scale = 1 / temperature). Whatever belongs to a teacher is detached here, so that no loss can train one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdistill.objectives.contrastive import contrast_rows, info_nce
from clipdistill.objectives.rows import (
    as_scale,
    full_precision,
    mean_over_rows,
    same_batch,
    same_shape,
    same_width,
    unit,
    unit_pair,
)


@full_precision
def crd(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    teacher_image: Tensor,
    teacher_text: Tensor,
    teacher_logit_scale: Tensor | float,
    *,
    chunk: int | None = None,
) -> Tensor:
    """Contrastive relational distillation: KL(teacher || student) between contrastive distributions.

    Each side's distribution is the softmax of its own cosines at its own scale, so the widths may differ. The mean
    of image->text and text->image, averaged over the batch. Equals the distillation cross-entropy (open_clip's
    DistillClipLoss) minus the teacher's entropy: same gradient, and 0 when the student agrees with the teacher.

    Args:
        image, text: student's, [B, D] and [N, D]: relations need no pairs, so pictures may have no text of their own.
        teacher_image, teacher_text: [B, D'] and [N, D'].
        logit_scale, teacher_logit_scale: scalars.
        chunk: rows of logits held at a time, None for all.

    Source: CLIP-KD, equations 4-7 (section "contrastive relational distillation").
    """
    image, text = unit(image, "student image"), unit(text, "student text")
    taught_image, taught_text = (
        unit(teacher_image.detach(), "teacher image"),
        unit(teacher_text.detach(), "teacher text"),
    )
    for student, teacher in ((image, taught_image), (text, taught_text)):
        same_batch(student, teacher)
    same_width(image, text, "student")
    same_width(taught_image, taught_text, "teacher")
    taught_image, taught_text = taught_image.to(image), taught_text.to(image)
    scale = as_scale(logit_scale, image)
    taught_scale = as_scale(teacher_logit_scale, taught_image, "teacher_logit_scale").detach()
    image_to_text = mean_over_rows(_kl_rows, (image, taught_image), (text, taught_text, scale, taught_scale), chunk)
    text_to_image = mean_over_rows(_kl_rows, (text, taught_text), (image, taught_image, scale, taught_scale), chunk)
    return (image_to_text + text_to_image) / 2


@full_precision
def fd(student: Tensor, teacher: Tensor) -> Tensor:
    """Feature distillation of one modality, [B]: squared distance of normalised features, mean over the dimension.

    CLIP-KD's weight of 2000 belongs to this mean over dimensions; the task adds the image's and the text's, and the
    mean over the batch is the engine's. Equals (2 - 2 cosine) / D.

    Args:
        student, teacher: [B, D]; project the student's first when the widths differ.

    Source: CLIP-KD, section "feature distillation"; the mean over dimensions from its released code (`mse_loss`).
    """
    student = unit(student, "student")
    teacher = unit(teacher.detach(), "teacher").to(student)
    same_shape(student, teacher, "student", "teacher")
    return F.mse_loss(student, teacher, reduction="none").mean(dim=1)


def mfd(masked_student: Tensor, teacher: Tensor) -> Tensor:
    """Masked feature distillation, [B]: `fd` where the student saw a masked image and the teacher the whole one.

    Args:
        masked_student: [B, D], the student's features of `mask_patches(pixels, ...)`.  teacher: [B, D].

    Source: CLIP-KD, section "masked feature distillation". (In the released code the mask never reaches the student.)
    """
    return fd(masked_student, teacher)


@full_precision
def icl(
    image: Tensor,
    text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    logit_scale: Tensor | float,
    *,
    chunk: int | None = None,
) -> Tensor:
    """Interactive contrastive learning: the student's embeddings as anchors, the teacher's as contrast.

    The mean of InfoNCE(student image -> teacher text) and InfoNCE(student text -> teacher image).

    Args:
        image, text, teacher_image, teacher_text: [B, D] each; project the student's first when the widths differ.
        logit_scale: exponentiated. (The released code multiplies by the raw logarithm, 2.66 where 14.3 is meant.)

    Source: CLIP-KD, section "interactive contrastive learning".
    """
    image, text = unit_pair(image, text, "student")
    taught_image, taught_text = _teacher_pair(teacher_image, teacher_text, image)
    same_shape(image, taught_text, "student image", "teacher text")
    scale = as_scale(logit_scale, image)
    image_to_text = mean_over_rows(contrast_rows, (image,), (taught_text, scale), chunk)
    text_to_image = mean_over_rows(contrast_rows, (text,), (taught_image, scale), chunk)
    return (image_to_text + text_to_image) / 2


@full_precision
def gd(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    teacher_image: Tensor,
    teacher_text: Tensor,
    teacher_logit_scale: Tensor | float,
) -> Tensor:
    """Gradient distillation: the student's contrastive gradients should be the teacher's.

    For each direction, the gradient of the batch's InfoNCE w.r.t. the normalised anchors and w.r.t. the normalised
    contrast (`contrastive_gradients`); the sum of the four mean squared errors over batch and dimension. Each
    gradient carries a 1 / B, so the loss falls with the square of the batch size. The paper's weight is 1e8; it was
    chosen with the smaller gradients of the released code, and the recipes take less (docs/fidelity.md).

    Args:
        image, text, teacher_image, teacher_text: [B, D] each; project the student's first when the widths differ.
        logit_scale, teacher_logit_scale: each side's own, exponentiated. They multiply. (The released code passes
            them as temperatures and divides.)

    Source: CLIP-KD, section "gradient distillation" and the gradients in its appendix; four terms as in its code.
    """
    image, text = unit_pair(image, text, "student")
    taught_image, taught_text = _teacher_pair(teacher_image, teacher_text, image)
    same_shape(image, taught_image, "student image", "teacher image")
    with torch.no_grad():
        wanted = contrastive_gradients(taught_image, taught_text, teacher_logit_scale)
    found = contrastive_gradients(image, text, logit_scale)
    return torch.stack([F.mse_loss(mine, theirs) for mine, theirs in zip(found, wanted, strict=True)]).sum()


@full_precision
def contrastive_gradients(
    image: Tensor, text: Tensor, logit_scale: Tensor | float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of InfoNCE w.r.t. normalised features, [B, D] each, in closed form.

    In this order: of image->text w.r.t. image and text, of text->image w.r.t. text and image. With P the softmax of
    scale * anchors @ contrast^T and Y the identity, they are scale / B * (P - Y) @ contrast and
    scale / B * (P - Y)^T @ anchors: two matrix products, where the released code builds an N x D x B tensor.

    Args:
        image, text: [B, D], normalised already.
    """
    scale = as_scale(logit_scale, image)
    logits = scale * image @ text.T
    identity = torch.eye(len(image), device=image.device, dtype=image.dtype)
    of_image = (logits.softmax(dim=1) - identity) * (scale / len(image))
    of_text = (logits.T.softmax(dim=1) - identity) * (scale / len(image))
    return of_image @ text, of_image.T @ image, of_text @ image, of_text.T @ text


@full_precision
def afd(
    image: Tensor,
    text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    fuse_image: Callable[[Tensor], Tensor],
    fuse_text: Callable[[Tensor], Tensor],
    logit_scale: Tensor | float,
    *,
    chunk: int | None = None,
) -> Tensor:
    """Augmented feature distillation: InfoNCE of fused features fuse(cat[student, teacher]).

    Args:
        image, text: student's, [B, D].  teacher_image, teacher_text: [B, D'].
        fuse_image, fuse_text: [B, D + D'] -> [B, any width], of normalised features, student first; in the paper
            one linear layer each. They belong to the task.
        logit_scale: exponentiated, the fused space's own.

    Source: CLIP-KD, section "augmented feature distillation".
    """
    image, text = unit_pair(image, text, "student")
    taught_image, taught_text = _teacher_pair(teacher_image, teacher_text, image)
    fused_image = fuse_image(torch.cat([image, taught_image], dim=1))
    fused_text = fuse_text(torch.cat([text, taught_text], dim=1))
    return info_nce(fused_image, fused_text, logit_scale, chunk=chunk)


def _teacher_pair(teacher_image: Tensor, teacher_text: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    pair = unit_pair(teacher_image.detach(), teacher_text.detach(), "teacher")
    same_batch(student, pair[0])
    return pair[0].to(student.dtype), pair[1].to(student.dtype)


def _kl_rows(
    _start: int,
    anchor: Tensor,
    taught_anchor: Tensor,
    contrast: Tensor,
    taught_contrast: Tensor,
    scale: Tensor,
    taught_scale: Tensor,
) -> Tensor:
    student = F.log_softmax(scale * anchor @ contrast.T, dim=1)
    teacher = F.log_softmax(taught_scale * taught_anchor @ taught_contrast.T, dim=1)
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
