"""Locked-image tuning: train the projections of a joined model while both of its towers stay locked."""

from __future__ import annotations

from clipdistill.tasks.base import Batch, Features
from clipdistill.tasks.contrastive import Contrastive


class LockedTuning(Contrastive):
    """Contrastive training of a JoinedEncoder's projections (LiT, 2022, with both towers locked).

    The tower features are the task's teacher targets: live they are computed each step, stored (`features: tower`)
    a step costs two matrix products.
    """

    HARD_NEGATIVES = False

    def encode(self, batch: Batch) -> Features:
        """Project the tower features of the batch: [B, D] each."""
        if self.teachers:
            towers = self.teachers[0].targets(batch)
            image, text = towers["image"], towers["text"]
        else:
            image = self.student.image_tower_features(batch["image/student"])
            text = self.student.text_tower_features(batch["text/student"])
        return {"image": self.student.project_image(image), "text": self.student.project_text(text)}

    def targets(self, batch: Batch) -> Features:
        """None: what the towers give is the input of the projections, not a target."""
        return {}
