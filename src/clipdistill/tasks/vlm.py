"""A VLM learns to answer about pictures: its connector first, then the language model too."""

from __future__ import annotations

import sys
from typing import Literal

import torch
from pydantic import Field as Value
from torch import Tensor

from clipdistill.data import Mixture
from clipdistill.data.conversation_fields import IGNORED, Conversations, too_long
from clipdistill.data.fields import Field, Picture
from clipdistill.errors import UserError
from clipdistill.tasks.base import Batch, Features, Task, TaskOptions

NAMED = 5
"""Of conversations that are cut, so many are named; all are counted."""


_SAID: set[str] = set()


class VLMOptions(TaskOptions):
    """Options of the training of a VLM."""

    train: Literal["connector", "connector_lm"] = "connector_lm"
    """What learns: the connector alone, or the language model too. The image tower never does."""
    style: Literal["chat", "plain"] = "chat"
    """plain: the picture and its caption, nothing of the question, as in LLaVA's first stage."""
    max_tokens: int = Value(2048, ge=8)
    """Longer conversations lose their end, a picture's tokens counted; how many is said before training."""


class VLMTuning(Task):
    """A VLM predicts the answers of conversations about pictures, word by word; its image tower is frozen.

    Source: LLaVA (2023); the values of TinyLLaVA (2024)

    Cross-entropy of each token of the answers, the mean over all of them in the batch: neither a conversation's length
    nor the micro-batch weighs. The tower sees each picture once a step, in evaluation mode.
    """

    METHOD = "vlm"
    KIND = "vlm"
    TERMS = {"task": 1.0}
    Options = VLMOptions

    def build(self) -> None:
        """Freeze the tower, and in the first stage the language model."""
        if "max_tokens" in self.settings.model_fields_set:
            self.student.require_positions(self.settings.max_tokens, "task.max_tokens")
        least = len(self.student.coder.prompt("", True)) + 1
        if self.max_tokens < least:
            raise UserError(
                f"`task.max_tokens`: {self.max_tokens} tokens hold no answer; a picture and what stands around it take "
                f"{least - 1}"
            )
        self.student.llava.requires_grad_(self.settings.train == "connector_lm")
        self.student.connector.requires_grad_(True)
        self.student.tower.requires_grad_(False)

    @property
    def max_tokens(self) -> int:
        """As many as asked for, and as the language model has positions for."""
        most = getattr(self.student.llava.config.text_config, "max_position_embeddings", None)
        found: int = min(self.settings.max_tokens, most or self.settings.max_tokens)
        return found

    def prepare(self, data: Mixture) -> None:
        """Say which conversations are too long."""
        field = self._conversations()
        field.check(data)
        cut, lost = too_long(data, field)
        if not cut:
            return
        said = (
            f"{len(cut):,} of {len(data):,} conversations are longer than {self.max_tokens:,} tokens and lose their "
            f"end ({', '.join(cut[:NAMED])}{', ...' if len(cut) > NAMED else ''}); {len(lost):,} of them all that is "
            "learnt from them"
        )
        if said not in _SAID:  # the forecast looks at the same data as the training
            _SAID.add(said)
            print(said, file=sys.stderr)

    def fields(self, data: Mixture) -> dict[str, Field]:
        """Pictures, and conversations; UserError for data without."""
        field = self._conversations()
        field.check(data)
        return {"image/student": Picture.of(self.student.preprocess), "text": field}

    def _conversations(self) -> Conversations:
        return Conversations(self.student, self.settings.style, self.max_tokens)

    def targets(self, batch: Batch) -> Features:
        """What the tower sees, [B, T, C]: asked for once a step. It learns nothing, so this needs no graph."""
        shown, pixels = self._shown(batch), batch["image/student"]
        if bool(shown.all()):
            return {"seen": self.student.see(pixels)}
        if not bool(shown.any()):
            return {"seen": pixels.new_zeros(len(pixels), 1, 1)}
        seen = self.student.see(pixels[shown])
        whole = seen.new_zeros(len(pixels), *seen.shape[1:])
        whole[shown] = seen
        return {"seen": whole}

    def encode(self, batch: Batch) -> Features:
        """Nothing: all that learns stands behind what the tower sees, and runs once, in `sample_losses`."""
        return {}

    def gathers(self, name: str) -> bool:
        """Nothing: each token's loss is its own."""
        return False

    def forward_once(self, batch: Batch) -> None:
        """Tower, connector and language model."""
        self.sample_losses(self.targets(batch), batch)

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """`task`: of each conversation the mean over its answers' tokens."""
        labels = batch["text/labels"]
        seen = features["seen"][self._shown(batch)]
        losses, owner = self.student.token_losses(batch["text/ids"], batch["text/mask"], labels, seen)
        if not len(seen):  # nothing here for a connector, which must have a gradient all the same
            losses = losses + 0 * self.student.connector.linear_1.weight.sum()
        total = torch.zeros(len(labels), dtype=losses.dtype, device=losses.device).index_add(0, owner, losses)
        return {"task": total / self._learnt(batch).clamp_min(1).to(total.dtype)}

    def sample_weights(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """How many tokens are learnt: the mean is over them, not over conversations."""
        return {"task": self._learnt(batch).float()}

    def _shown(self, batch: Batch) -> Tensor:
        """Which conversations show a picture, bool [B]."""
        found: Tensor = (batch["text/ids"] == self.student.coder.image_id).any(dim=1)
        return found

    def _learnt(self, batch: Batch) -> Tensor:
        found: Tensor = (batch["text/labels"][:, 1:] != IGNORED).sum(dim=1)
        return found
