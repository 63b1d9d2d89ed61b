"""Locked-image tuning: train the projections of a joined model while both of its towers stay locked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from clipdistill.data import Mixture
from clipdistill.data.fields import Field, encoder_fields
from clipdistill.errors import UserError
from clipdistill.models import JoinedEncoder
from clipdistill.tasks.base import Batch, Features, TaskOptions
from clipdistill.tasks.contrastive import Contrastive


class LockedTuningOptions(TaskOptions):
    """Options of locked-image tuning: those of the contrastive loss between features that never change."""

    loss: Literal["info_nce", "sigmoid"] = "info_nce"
    chunk: int | None = None
    """Rows of the logits that are held at once; none = all of them."""


class LockedTuning(Contrastive):
    """Contrastive training of a joined model's projections while its towers stay as they are.

    Source: LiT (2022), with both towers locked

    The tower features are what its teacher, the student's own towers, gives: live they are computed each step, stored a
    step costs two matrix products.
    """

    METHOD = "lit"
    BARE = False
    TEACHERS = (0, 1)
    FEATURES = "tower"
    OWN_TEACHER = True
    Options = LockedTuningOptions  # type: ignore[assignment]  # no hard negatives: captions are tower features

    @classmethod
    def check_start(cls, model: Any) -> None:
        """Only a joined model has towers of its own."""
        super().check_start(model)
        if not isinstance(model, JoinedEncoder):
            raise UserError(
                "`task.method=lit` trains a joined model; give `student.image_tower` and `student.text_tower`"
            )

    @classmethod
    def make_student(
        cls, model: Any, weights: Mapping[str, float] | None = None, options: Mapping[str, Any] | None = None
    ) -> Any:
        """The joined model with its towers locked."""
        model.lock_towers()
        return model

    def fields(self, data: Mixture) -> dict[str, Field]:
        """Pictures and captions, for whoever encodes them: nothing where the features are stored."""
        return self.teachers[0].fields() if self.teachers else encoder_fields("student", self.student)

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
