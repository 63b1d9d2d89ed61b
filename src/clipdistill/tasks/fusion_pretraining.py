"""Pretraining of fusion students on a task's own texts and pictures: masked words, masked regions, matching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clipdistill.data import Mixture
from clipdistill.data.drawn_pictures import drawn_fields
from clipdistill.data.fields import Field
from clipdistill.data.fusion_fields import LAYOUTS
from clipdistill.data.masked_fields import ExchangedTexts, MaskedTexts
from clipdistill.data.true_texts import TextKnown, TrueTexts
from clipdistill.errors import UserError
from clipdistill.models.fusion import fusion_inputs
from clipdistill.models.fusion.config import HeadName
from clipdistill.objectives.soft_labels import class_divergence
from clipdistill.tasks.base import Batch, Features, Task, Trainable
from clipdistill.tasks.fusion import SEEDS, scaled, set_tower
from clipdistill.tasks.pretraining_losses import alignment, mean_of_each, with_hidden
from clipdistill.tasks.pretraining_options import FusionPretrainingOptions
from clipdistill.tasks.standardising import fit_features
from clipdistill.tasks.targeted import TERMS as TAUGHT
from clipdistill.tasks.targeted import targeted

HEADS: dict[str, HeadName] = {
    "words": "words", "regions": "region_features", "region_classes": "region_classes", "matching": "matching",
    "exchanged": "exchanged",
}  # fmt: skip
"""Term -> the head that it trains."""


class FusionPretraining(Task):
    """A fusion model guesses masked words and masked regions, and whether a picture is the text's.

    Source: UNITER (2020), section 3.2

    Words, regions and matching have inputs of their own, so that nothing is masked on both sides at once: a step makes
    a pass for each, where UNITER draws one of them a step. `words`: cross-entropy, the mean over masked words.
    `regions`: squared distance of the feature, the mean over masked regions and channels; `region_classes`: divergence
    from what the detector says the region is, summed over classes, the mean over masked regions. Of masked regions
    neither is shown, nor in the whole image, which is the mean of the others. `matching`: half of the pairs don't match
    (`negatives`). `alignment`: in the same pass, what it costs to transport the words onto the regions, less for pairs
    that match and more for others; it needs `matching`, and UNITER weighs it with a tenth of that. `exchanged` (ours,
    after ELECTRA, 2020): with exchanged words, also in the pass of matching, whether each word is one of them; the mean
    over words. It says where a pair doesn't match, which the pooled vector has to find out by itself.
    """

    METHOD = "fusion_pretraining"
    KIND = "fusion"
    TERMS = {
        "words": 2.0,
        "regions": 1.0,
        "region_classes": 0.0,
        "matching": 1.0,
        "alignment": 0.0,
        "exchanged": 0.0,
        **TAUGHT,
    }
    TEACHERS = (0, 1)
    FEATURES = "questions"
    Options = FusionPretrainingOptions

    @classmethod
    def check_weights(cls, weights: Mapping[str, float] | None) -> dict[str, float]:
        """As every task; UserError for alignment without matching, whose pairs it reads."""
        found = super().check_weights(weights)
        if "alignment" in found and "matching" not in found:
            raise UserError("`task.weights.alignment`: it reads the pairs of `matching`; give that a weight too")
        return found

    @classmethod
    def stored_options(cls, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """How words are selected, and what the teacher reads of a question."""
        found: dict[str, Any] = cls.check_options(options).distil.stored()
        return found

    def build(self) -> None:
        """A language model guesses words alone, a model that reads pictures no classes; its tower trains or doesn't."""
        if "exchanged" in self.weights and self.settings.negatives != "exchanged":
            raise UserError("`task.weights.exchanged`: no words are exchanged; set `task.negatives` to exchanged")
        set_tower(self.student, self.settings)
        self.targeted = targeted(self.student, self.teachers, self.weights, self.settings.distil)
        self._check_targeted()
        if "region_classes" in self.weights and self.student.sees == "pixels":
            raise UserError(
                f"`task.weights.region_classes`: '{self.student.name}' reads pictures, and cells of its grid have no "
                "classes; leave it out"
            )
        for term in self.weights:
            if term != "words" and self.student.sees == "nothing":
                raise UserError(
                    f"`task.weights.{term}`: '{self.student.name}' sees no picture; set `task.weights` to {{words: 1}}"
                )
        config = self.student.config
        said = {number for _, number in LAYOUTS.get(config.architecture, {}).get(self.settings.reads, ())}
        objects = {2} if config.architecture == "vl_bert" else {1}
        self._unused = sorted(set(range(getattr(config, "types", 0))) - said - objects)

    def _check_targeted(self) -> None:
        if self.targeted is None:
            return
        own = [term for term in self.weights if term not in TAUGHT]
        if not own and not self.settings.distil_alone:
            raise UserError(
                "`task.weights`: distillation without any term of pretraining ruins a student; give words, regions or "
                "matching a weight, or set `task.distil_alone` if that is the control you want"
            )
        if self.settings.reads == "caption" or "choices" in self.weights or self.settings.distil.confidence is not None:
            raise UserError(
                "`task`: pretraining makes no choices and a teacher's captions aren't stored; distil `vision`, "
                "`language` or `selected` of answers, rationales, questions or hypotheses, without `confidence`"
            )

    def prepare(self, data: Mixture) -> None:
        """Put the heads on that are missing, or don't fit."""
        fit_features(self.student, data)
        for term in (term for term in self.weights if term in HEADS):
            name = HEADS[term]
            # 0 = as many as the student has words, or a region's feature channels.
            outputs = 2 if term in ("matching", "exchanged") else 0
            if term == "region_classes":
                outputs = getattr(data.regions, "class_outputs", 0)
            seed = int(torch.randint(SEEDS, (1,)))
            there = self.student.config.heads.get(name)
            if there is None or outputs and there != outputs:
                self.student.add_heads({name: outputs}, seed)

    def fields(self, data: Mixture) -> dict[str, Field]:
        """Texts plain, masked and exchanged, and regions."""
        options = self.settings
        reads, limit = options.reads, options.max_tokens
        found: dict[str, Field] = {}
        if TextKnown(reads).unknown_in(data):
            found["text_known"] = TextKnown(reads)
        if "words" in self.weights:
            found["masked"] = MaskedTexts(self.student, reads, "masked", limit, options.whole_words, options.masked)
        pairs = {"matching", "exchanged"} & set(self.weights)
        pictures = bool(pairs) and options.negatives == "picture"
        classes = "region_classes" in self.weights
        found |= drawn_fields(self.student, data, reads, others=pictures, classes=classes, max_tokens=limit)
        if pictures or self.targeted is not None or {"regions", "region_classes"} & set(self.weights):
            found["plain"] = TrueTexts(self.student, reads, "plain", limit)
        if self.targeted is not None:
            found |= self.targeted.fields(data, {reads: found["plain"]}, right=True)  # type: ignore[dict-item]
        if pairs and not pictures:
            found["matched"] = ExchangedTexts(self.student, reads, "matched", limit, options.exchange)
        return found

    def trainable(self) -> Iterator[Trainable]:
        """An image tower's share of the learning rate is an option."""
        return scaled(super().trainable(), {"student.clip.": self.settings.tower_lr})

    @torch.no_grad()
    def after_step(self) -> None:
        """Token types that no text here has follow type 0, from which UNITER's authors start those of VCR."""
        if self._unused:
            types = self.student.embeddings.types.weight
            types[self._unused] = types[0].clone()

    def gathers(self, name: str) -> bool:
        """Nothing: each sample's loss is its own."""
        return False

    def encode(self, batch: Batch) -> Features:
        """The losses themselves, [B] each: they take the scores of what is masked alone."""
        found: Features = {}
        seen = self.student.see(batch)
        if "words" in self.weights:
            found["words"] = self._words(seen)
        if {"regions", "region_classes"} & set(self.weights):
            found |= self._regions(seen)
        if {"matching", "exchanged"} & set(self.weights):
            found |= self._matching(seen)
        if self.targeted is not None:
            found |= self._taught(seen)
        return {term: found[term] for term in self.weights}

    def forward_once(self, batch: Batch) -> None:
        """With a graph: torch's counter can't follow a head that is given another part's matrix without one."""
        with torch.enable_grad():
            self.encode(batch)

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """As encoded; of words and regions the mean over the sample's masked ones."""
        return {term: features[term] for term in self.weights}

    def sample_weights(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """How many are masked: the mean is over them, not over samples. Texts that can't differ don't count.

        Of a question whose right answer isn't known an answer is read that may be wrong: it teaches nothing but what a
        teacher says of it.
        """
        found: dict[str, Tensor] = {}
        if "words" in self.weights:
            found["words"] = (batch["masked/wanted"] >= 0).sum(dim=1).float()
        for term in (term for term in ("regions", "region_classes") if term in self.weights):
            found[term] = batch["hidden_regions"].sum(dim=1).float()
        if "can_differ" in batch:
            found |= {term: batch["can_differ"].float() for term in ("matching", "alignment") if term in self.weights}
        if "exchanged" in self.weights:
            found["exchanged"] = (batch["matched/exchanged"] >= 0).sum(dim=1) * batch["can_differ"].float()
        if "text_known" in batch:
            known = batch["text_known"].float()
            found = {term: known * found.get(term, 1) for term in self.weights if term not in TAUGHT}
        return found

    def _taught(self, batch: Batch) -> Features:
        """The teacher's terms, on texts and pictures as they are."""
        assert self.targeted is not None
        reads = self.settings.reads
        features = self.targeted.features(reads, self.student(fusion_inputs(batch, "plain")), batch)
        return self.targeted.losses(reads, features, batch, None)

    def _words(self, batch: Batch) -> Tensor:
        inputs, wanted = fusion_inputs(batch, "masked"), batch["masked/wanted"]
        scores = self.student.scores("words", self.student(inputs), inputs, wanted >= 0)
        return mean_of_each(cross_entropy(scores, wanted[wanted >= 0], reduction="none"), wanted >= 0)

    def _regions(self, batch: Batch) -> Features:
        hidden = batch["hidden_regions"]
        inputs = with_hidden(fusion_inputs(batch, "plain"), hidden)
        output, where = self.student(inputs), inputs.hidden_regions
        found: Features = {}
        if "regions" in self.weights:
            guessed = self.student.scores("region_features", output, inputs, where)
            found["regions"] = mean_of_each((guessed - batch["regions"][hidden].detach()).square().mean(dim=1), hidden)
        if "region_classes" in self.weights:
            scores = self.student.scores("region_classes", output, inputs, where)
            found["region_classes"] = mean_of_each(class_divergence(scores, batch["region_classes"][hidden]), hidden)
        return found

    def _matching(self, batch: Batch) -> Features:
        other = {name.removeprefix("other/"): value for name, value in batch.items() if name.startswith("other/")}
        inputs = fusion_inputs({**batch, **other}, "matched" if "matched/ids" in batch else "plain")
        output, own = self.student(inputs), batch["is_own"]
        found: Features = {}
        if "matching" in self.weights:
            scores = self.student.scores("matching", output, inputs)
            found["matching"] = cross_entropy(scores, own, reduction="none")
        if "alignment" in self.weights:
            found["alignment"] = (2 * own - 1) * alignment(output, inputs)
        if "exchanged" in self.weights:
            other_words = batch["matched/exchanged"]
            there = other_words >= 0
            scores = self.student.scores("exchanged", output, inputs, there)
            found["exchanged"] = mean_of_each(cross_entropy(scores, other_words[there], reduction="none"), there)
        return found
