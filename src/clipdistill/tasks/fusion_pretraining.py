"""Pretraining of fusion students on a task's own texts and pictures: masked words, masked regions, matching."""

from __future__ import annotations

import torch
from pydantic import Field as Value
from torch import Tensor
from torch.nn.functional import cross_entropy

from clipdistill.data import Mixture
from clipdistill.data.fields import Field
from clipdistill.data.masked_fields import DrawnRegions, MaskedTexts, TrueText, TrueTexts
from clipdistill.errors import UserError
from clipdistill.models.fusion import FusionInputs, fusion_inputs
from clipdistill.models.fusion.config import HeadName
from clipdistill.tasks.base import Batch, Features, Task, TaskOptions
from clipdistill.tasks.fusion import SEEDS

HEADS: dict[str, tuple[HeadName, int]] = {
    "words": ("words", 0), "regions": ("region_features", 0), "matching": ("matching", 2),
}  # fmt: skip


class FusionPretrainingOptions(TaskOptions):
    """Options of pretraining."""

    reads: TrueText = "question"
    """The text: VCR's question with the right answer (`answers`), or with its reason too (`rationales`); a `question`
    alone; a `hypothesis`."""
    max_tokens: int | None = Value(None, ge=8)
    """Longer texts are cut; none = as many as the model has positions for."""


class FusionPretraining(Task):
    """A fusion model guesses masked words, the features of masked regions, and whether a picture is the text's.

    Source: UNITER (2020), section 3.2

    Each has inputs of its own, so that nothing is masked on both sides at once: a step makes a pass for each term that
    has a weight, where UNITER draws one of them a step. `words`: cross-entropy, the mean over masked words. `regions`:
    squared distance, the mean over masked regions and channels; the whole image is the mean of what isn't masked.
    `matching`: the picture is replaced by another sample's half of the times.
    """

    METHOD = "fusion_pretraining"
    KIND = "fusion"
    TERMS = {"words": 2.0, "regions": 1.0, "matching": 1.0}
    Options = FusionPretrainingOptions

    def build(self) -> None:
        """A language model guesses words alone."""
        for term in ("regions", "matching"):
            if term in self.weights and self.student.sees == "nothing":
                raise UserError(
                    f"`task.weights.{term}`: '{self.student.name}' sees no picture; set `task.weights` to {{words: 1}}"
                )

    def prepare(self, data: Mixture) -> None:
        """Put the heads on that are missing."""
        for term in self.weights:
            name, outputs = HEADS[term]
            seed = int(torch.randint(SEEDS, (1,)))
            if name not in self.student.config.heads:
                self.student.add_heads({name: outputs}, seed)

    def fields(self, data: Mixture) -> dict[str, Field]:
        """Texts plain and masked, and regions."""
        limit = self.settings.max_tokens
        masked = MaskedTexts(self.student, self.settings.reads, "masked", limit)
        if self.student.sees == "nothing":
            return {"masked": masked}
        return {
            "masked": masked,
            "plain": TrueTexts(self.student, self.settings.reads, "plain", limit),
            "regions": DrawnRegions(data, self.student.region_width),
        }

    def gathers(self, name: str) -> bool:
        """Nothing: each sample's loss is its own."""
        return False

    def encode(self, batch: Batch) -> Features:
        """The losses themselves, [B] each: they take the scores of what is masked alone."""
        losses = {"words": self._words, "regions": self._regions, "matching": self._matching}
        return {term: losses[term](batch) for term in self.weights}

    def forward_once(self, batch: Batch) -> None:
        """With a graph: torch's counter can't follow a head that is given another part's matrix without one."""
        with torch.enable_grad():
            self.encode(batch)

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """As encoded; of words and regions the mean over the sample's masked ones."""
        return {term: features[term] for term in self.weights}

    def sample_weights(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """How many are masked: the mean is over them, not over samples."""
        counts = {"words": lambda: batch["masked/wanted"] >= 0, "regions": lambda: batch["hidden_regions"]}
        return {term: counts[term]().sum(dim=1).float() for term in self.weights if term in counts}

    def _words(self, batch: Batch) -> Tensor:
        inputs, wanted = fusion_inputs(batch, "masked"), batch["masked/wanted"]
        scores = self.student.scores("words", self.student(inputs), inputs, wanted >= 0)
        return mean_of_each(cross_entropy(scores, wanted[wanted >= 0], reduction="none"), wanted >= 0)

    def _regions(self, batch: Batch) -> Tensor:
        hidden = batch["hidden_regions"]
        inputs = with_hidden(fusion_inputs(batch, "plain"), hidden)
        assert inputs.hidden_regions is not None
        scores = self.student.scores("region_features", self.student(inputs), inputs, inputs.hidden_regions)
        return mean_of_each((scores - batch["regions"][hidden]).square().mean(dim=1), hidden)

    def _matching(self, batch: Batch) -> Tensor:
        other = {name.removeprefix("other/"): value for name, value in batch.items() if name.startswith("other/")}
        inputs = fusion_inputs({**batch, **other}, "plain")
        scores = self.student.scores("matching", self.student(inputs), inputs)
        return cross_entropy(scores, batch["is_own"], reduction="none")


def with_hidden(inputs: FusionInputs, hidden: Tensor) -> FusionInputs:
    """Inputs whose regions `hidden` [B, M], counted without the whole image, aren't shown, nor are in its mean."""
    shown = (inputs.region_mask[:, 1:] & ~hidden)[..., None].to(inputs.features.dtype)
    whole = (inputs.features[:, 1:] * shown).sum(dim=1) / shown.sum(dim=1).clamp_min(1)
    features = torch.cat([whole[:, None], inputs.features[:, 1:]], dim=1)
    masked = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], dim=1)
    return FusionInputs(
        inputs.ids, inputs.types, inputs.text_mask, features, inputs.boxes, inputs.region_mask, inputs.tags, masked
    )


def mean_of_each(values: Tensor, where: Tensor) -> Tensor:
    """Values [N] of the places `where` bool [B, L], row by row -> the mean of each row, [B]; 0 where it has none."""
    rows = where.nonzero()[:, 0]
    total = torch.zeros(len(where), dtype=values.dtype, device=values.device).index_add(0, rows, values)
    return total / where.sum(dim=1).clamp_min(1)
