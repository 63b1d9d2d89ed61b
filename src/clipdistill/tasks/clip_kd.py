"""The CLIP-KD family: relational, feature, interactive and gradient distillation, affinity mimicking, ensembles."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from clipdistill.errors import UserError
from clipdistill.objectives.affinity import affinity_mimicking
from clipdistill.objectives.clip_kd import afd, crd, fd, gd, icl, mfd
from clipdistill.objectives.ensemble import ensemble_kd
from clipdistill.objectives.masking import mask_patches
from clipdistill.tasks.base import Batch, Features
from clipdistill.tasks.contrastive import Contrastive, ContrastiveOptions

ONE_TEACHER = ("crd", "fd", "icl", "gd", "afd", "mfd", "affinity")


class ClipKDOptions(ContrastiveOptions):
    """Options of the CLIP-KD family."""

    mask_ratio: float = 0.75
    """Share of patches hidden from the student for `mfd` (CLIP-KD's 0.75)."""
    mask_patch: int = 16
    """Side of a hidden patch in pixels of the student's image."""
    affinity: Literal["paper", "released"] = "paper"
    """TinyCLIP's affinity mimicking as its paper writes it, or as its released code does."""
    ensemble_scale: float | None = None
    """Scale of the student's logits in `ensemble`; none = its own logit scale."""


class ClipKD(Contrastive):
    """Distil a DualEncoder into a smaller one: its relations, features or gradients, or an ensemble's.

    Source: CLIP-KD (2024); `affinity` TinyCLIP (2023), without weight inheritance; `ensemble` MobileCLIP (2024),
        without synthetic captions

    Terms (default weights as in CLIP-KD; `gd` is off, and the weight that it needs goes with the square of the batch:
    1e6 at 1,024 pairs, docs/fidelity.md): `task` contrastive loss; `crd` contrastive relational, `fd` feature, `icl`
    interactive contrastive, `gd` gradient, `afd` augmented feature and `mfd` masked feature distillation; `affinity`
    TinyCLIP's affinity mimicking; `ensemble` MobileCLIP's stored-ensemble loss, the one term for several teachers.
    Where student and teacher differ in width, linear projections of the student's embeddings into the teacher's space
    train along and are thrown away afterwards.

    Pictures without captions are compared with the teacher by `fd` and `mfd`, whose text part is of the others, and by
    `crd`, over the captions of the batch; the remaining terms are of pairs.
    """

    METHOD = "clip_kd"
    SEES_BARE = True
    TEACHERS = (1, None)
    TERMS = {
        "task": 1.0, "crd": 1.0, "fd": 2000.0, "icl": 1.0,
        "gd": 0.0, "afd": 0.0, "mfd": 0.0, "affinity": 0.0, "ensemble": 0.0,
    }  # fmt: skip
    Options = ClipKDOptions

    def build(self) -> None:
        """Projections into the teacher's width, and what fuses and scales."""
        single = [term for term in ONE_TEACHER if self.wants(term)]
        if len(self.teachers) > 1 and single:
            raise UserError(
                f"`task.weights.{single[0]}` works with one teacher, not {len(self.teachers)}; use `ensemble`"
            )
        width, target = int(self.student.embed_dim), int(self.teachers[0].embed_dim)
        if any(self.wants(term) for term in ("fd", "icl", "gd", "afd", "mfd")):
            same = width == target
            self.project_image: nn.Module = nn.Identity() if same else nn.Linear(width, target)
            self.project_text: nn.Module = nn.Identity() if same else nn.Linear(width, target)
        if self.wants("afd"):
            self.fuse_image = nn.Linear(2 * target, target)
            self.fuse_text = nn.Linear(2 * target, target)
            self.afd_logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if self.wants("icl"):
            # A log, exponentiated before use; CLIP-KD's released code multiplies by the log itself.
            self.icl_logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode(self, batch: Batch) -> Features:
        """Embeddings of the student; with `mfd` those of the masked picture too."""
        features = super().encode(batch)
        if self.wants("mfd"):
            pixels = batch["image/student"]
            if not pixels.is_floating_point():
                pixels = pixels.float() / 255
            # The mean colour is what a picture's normalisation turns into 0: no information.
            fill = self.student.preprocess["mean"]
            masked = mask_patches(pixels, self.settings.mask_patch, self.settings.mask_ratio, fill=fill)
            features["masked_image"] = self.student.encode_image(masked)
        return features

    def gathers(self, name: str) -> bool:
        """All but the masked picture's embedding, which has a target of its own."""
        return name != "masked_image"

    def batch_losses(self, features: Features) -> dict[str, Tensor]:
        """Terms that compare the samples of the batch with one another."""
        losses = super().batch_losses(features)
        everything, features = features, self.pairs(features)
        if not len(features["image"]):  # no caption in the whole batch
            nothing = 0 * everything["image"].sum()
            return losses | {term: nothing for term in self.weights if term not in ("task", "fd", "mfd")}
        scale, image, text, chunk = self.student.logit_scale, features["image"], features["text"], self.settings.chunk
        t_images = [features[f"teacher{i}/image"] for i in range(len(self.teachers))]
        t_texts = [features[f"teacher{i}/text"] for i in range(len(self.teachers))]
        t_scales = [teacher.logit_scale for teacher in self.teachers]
        t_image, t_text, t_scale = t_images[0], t_texts[0], t_scales[0]
        if self.wants("crd"):
            pictures = everything["image"], everything["teacher0/image"]
            losses["crd"] = crd(pictures[0], text, scale, pictures[1], t_text, t_scale, chunk=chunk)
        if self.wants("affinity"):
            variant = self.settings.affinity
            losses["affinity"] = affinity_mimicking(
                image, text, scale, t_image, t_text, t_scale, variant=variant, chunk=chunk
            )
        if self.wants("ensemble"):
            own = scale if self.settings.ensemble_scale is None else self.settings.ensemble_scale
            losses["ensemble"] = ensemble_kd(image, text, own, t_images, t_texts, t_scales, chunk=chunk)
        if any(self.wants(term) for term in ("icl", "gd", "afd")):
            p_image, p_text = self.project_image(image), self.project_text(text)
            if self.wants("icl"):
                losses["icl"] = icl(p_image, p_text, t_image, t_text, self.icl_logit_scale.exp(), chunk=chunk)
            if self.wants("gd"):
                losses["gd"] = gd(p_image, p_text, scale, t_image, t_text, t_scale)
            if self.wants("afd"):
                fuse = self.fuse_image, self.fuse_text
                losses["afd"] = afd(p_image, p_text, t_image, t_text, *fuse, self.afd_logit_scale.exp(), chunk=chunk)
        return losses

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """`fd` and `mfd`: each sample against its own target, image and text added as in CLIP-KD's equation of FD."""
        losses: dict[str, Tensor] = {}
        if not (self.wants("fd") or self.wants("mfd")):
            return losses
        t_image, text = features["teacher0/image"], self._text_fd(features)
        if self.wants("fd"):
            losses["fd"] = fd(self.project_image(features["image"]), t_image) + text
        if self.wants("mfd"):
            losses["mfd"] = mfd(self.project_image(features["masked_image"]), t_image) + text
        return losses

    def _text_fd(self, features: Features) -> Tensor:
        """[B]; where some pictures have no caption 0 for these, and the others count for as many more.

        So the mean over the batch is in expectation the mean over captions, as without such pictures.
        """
        pairs = self.pairs(features)
        if len(pairs["text"]) == len(features["text"]):
            return fd(self.project_text(pairs["text"]), pairs["teacher0/text"]) / self.captioned
        found = torch.zeros(len(features["text"]), device=features["text"].device)
        if not len(pairs["text"]):
            return found
        own = fd(self.project_text(pairs["text"]), pairs["teacher0/text"]) / self.captioned
        return found.to(own.dtype).masked_scatter(features["captioned"], own)
