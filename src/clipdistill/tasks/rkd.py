"""Relational distillation: the distances and angles within a batch follow those of one CLIP teacher, live or stored."""

from __future__ import annotations

from torch import Tensor, stack

from clipdistill.errors import UserError
from clipdistill.objectives.rkd import rkd_angle, rkd_distance
from clipdistill.tasks.base import Features
from clipdistill.tasks.contrastive import Contrastive


class RKD(Contrastive):
    """Keep the teacher's distances and angles among a batch's images, and among its texts.

    Source: RKD (2019)
    Weights: its code has distance to angle 1:2; 25 and 50 beside a loss on labels are RepDistiller's (2020). Relations
    alone are compared, so the teacher may have another width, and nothing is projected.
    """

    METHOD, TEACHERS, TERMS = "rkd", (1, 1), {"task": 1.0, "distance": 25.0, "angle": 50.0}
    SEES_BARE = True

    def batch_losses(self, features: Features) -> dict[str, Tensor]:
        """`task`; and `distance` and `angle`, each added over all images and over the texts that there are."""
        if len(features["image"]) < 3:
            raise UserError("`train.batch_size`: an angle needs three pairs; raise it")
        losses, seen = super().batch_losses(features), {"image": features, "text": self.pairs(features)}
        for term, loss in {"distance": rkd_distance, "angle": rkd_angle}.items():
            if self.wants(term):
                losses[term] = stack([loss(f[x], f[f"teacher0/{x}"]) for x, f in seen.items() if len(f[x]) > 2]).sum()
        return losses
