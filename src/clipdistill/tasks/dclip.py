"""DCLIP's student: a CLIP whose image tower learns from a meta-teacher's targets while its text tower stays frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clipdistill.errors import UserError
from clipdistill.objectives.contrastive import info_nce
from clipdistill.objectives.cosine import cosine_distance
from clipdistill.objectives.itm import hard_negatives, matching_loss
from clipdistill.tasks.base import Batch, Features, Task, TaskOptions


class DCLIPOptions(TaskOptions):
    """Options of DCLIP's student."""

    temperature: float | None = None
    """Temperature of InfoNCE; none = the pretrained student's own (the released code has 0.05)."""


class DCLIP(Task):
    """Fine-tune the image tower of a pretrained DualEncoder on a region-aware meta-teacher's targets.

    Source: DCLIP (2025), section 3.2
    Status: measured on the petri world and 900 real pictures, the full-size recipes not yet

    Terms: `task`, InfoNCE against the frozen text tower; `cosine_image` and `cosine_text`, cosine to the teacher's
    targets (with the text tower frozen the latter is a constant: logged, without effect); `anchor`, cosine to the
    original model's image embeddings, the second teacher; `itm`, matching of pairs with hard negatives, for each
    picture a wrong text and for each text a wrong picture. Without teachers it is the paper's "no teacher" run.
    """

    METHOD = "dclip"
    TEACHERS = (0, 2)
    TERMS = {"task": 1.0, "cosine_image": 1.0, "cosine_text": 1.0, "anchor": 0.0, "itm": 0.0}
    Options = DCLIPOptions

    def build(self) -> None:
        """Freeze all but the image tower, and make the head that tells pairs."""
        for count, term in ((1, "cosine_image"), (1, "cosine_text"), (2, "anchor")):
            if self.wants(term) and len(self.teachers) < count:
                what = "the meta-teacher" if count == 1 else "the original model as the second teacher"
                raise UserError(f"`task.weights.{term}` needs {what}; add it to `teachers` or set the weight to 0")
        for name, parameter in self.student.named_parameters():
            if not name.startswith("clip.visual."):
                parameter.requires_grad_(False)  # the text tower, and the logit scale with it
        if self.wants("itm"):
            width = int(self.student.embed_dim)
            self.itm_head = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, 2))

    def train(self, mode: bool = True) -> DCLIP:
        """Switch the mode of the image tower; the frozen text tower stays in evaluation mode."""
        super().train(mode)
        for name, module in self.student.clip.named_children():
            if name != "visual":
                module.eval()
        return self

    def encode(self, batch: Batch) -> Features:
        """`image` with gradient, `text` without, [B, D] each."""
        with torch.no_grad():
            text = self.student.encode_text(batch["text/student"])
        return {"image": self.student.encode_image(batch["image/student"]), "text": text}

    def gathers(self, name: str) -> bool:
        """The student's embeddings: targets are met sample by sample."""
        return name in ("image", "text")

    def batch_losses(self, features: Features) -> dict[str, Tensor]:
        """`task` and `itm` over the whole batch."""
        image, text, own = features["image"], features["text"], self.settings.temperature
        scale = self.student.logit_scale.detach() if own is None else torch.tensor(1 / own, device=image.device)
        losses = {}
        if self.wants("task"):
            losses["task"] = info_nce(image, text, scale)
        if self.wants("itm"):
            texts, pictures = hard_negatives(image, text, scale)
            wrong = torch.cat([self._match(image, text[texts]), self._match(image[pictures], text)])
            losses["itm"] = matching_loss(self._match(image, text), wrong)
        return losses

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """The cosine terms, each sample to its own target."""
        losses = {}
        if self.wants("cosine_image"):
            losses["cosine_image"] = cosine_distance(features["image"], features["teacher0/image"])
        if self.wants("cosine_text"):
            losses["cosine_text"] = cosine_distance(features["text"], features["teacher0/text"])
        if self.wants("anchor"):
            losses["anchor"] = cosine_distance(features["image"], features["teacher1/image"])
        return losses

    def _match(self, image: Tensor, text: Tensor) -> Tensor:
        """Logits [B, 2] of "belongs together" (column 1) for embeddings [B, D] of pictures and texts, row by row."""
        image, text = normalize(image, dim=-1), normalize(text, dim=-1)
        logits: Tensor = self.itm_head(torch.cat([image, text, image * text], dim=-1))
        return logits
