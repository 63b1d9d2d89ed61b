"""What tasks of fusion students share: pairs of texts and regions in, answers of a head out, VILLA's training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field as Value
from torch import Tensor

from clipdistill.data import Mixture
from clipdistill.data.fields import Field
from clipdistill.data.fusion_fields import FusionTexts, picture_fields
from clipdistill.data.question_fields import first_samples
from clipdistill.data.question_texts import Reads
from clipdistill.data.sample import Sample
from clipdistill.errors import UserError
from clipdistill.models.fusion import FusionInputs, FusionOutput, fusion_inputs
from clipdistill.models.fusion.config import HeadName
from clipdistill.objectives.adversarial import Reduce, adversarial_losses
from clipdistill.tasks.adversarial import Adversarial, check_shifts, nothing_shifted
from clipdistill.tasks.base import Batch, Features, Task, TaskOptions, Trainable
from clipdistill.tasks.standardising import fit_features
from clipdistill.tasks.targeted import TERMS, Distillation, targeted

SEEDS = 2**31


class FusionOptions(TaskOptions):
    """Options of every task of a fusion student."""

    max_tokens: int | None = Value(None, ge=8)
    """Longer texts are cut, the longest of a pair first; none = as many as the model has positions for."""
    head_lr: float = Value(1.0, gt=0)
    """Learning rate of the head, times `train.lr`; UNITER's authors have 10 for VQA and SNLI-VE."""
    tower_lr: float = Value(1.0, ge=0)
    """Learning rate of the image tower of a student that reads pictures, times `train.lr`; 0 = it is frozen."""
    adversarial: Adversarial | None = None
    """Train as VILLA does; none = plainly."""
    distil: Distillation = Distillation()
    """With a teacher: how its features are carried over (CLIP-TD)."""


class FusionTask(Task):
    """A fusion model that answers. A subclass says what it reads, by which head, and what an answer costs.

    The head is part of the student, so it is exported; where the model that training starts with has none, or one of
    another number of answers, a fresh one is put on.
    """

    KIND = "fusion"
    TERMS = {"task": 1.0, **TERMS}
    TEACHERS = (0, 1)
    FEATURES = "questions"
    Options = FusionOptions
    HEAD: ClassVar[HeadName]
    DIVERGENCE: ClassVar[Reduce] = "mean"
    """Over classes, in VILLA's divergence; `sum` where the task's loss is a sum over answers."""

    @classmethod
    def stored_options(cls, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """How words are selected, and what the teacher reads of a question."""
        found: dict[str, Any] = cls.check_options(options).distil.stored()
        return found

    def build(self) -> None:
        """Maps to the teacher's width; the divergence of adversarial training is a term, weighed by that option."""
        set_tower(self.student, self.settings)
        self.targeted = targeted(self.student, self.teachers, self.weights, self.settings.distil)
        if self.settings.adversarial is not None:
            check_shifts(self.student, self.settings.adversarial)
            self.weights["divergence"] = self.settings.adversarial.weight

    def reads(self) -> tuple[Reads, ...]:
        """The texts."""
        raise TypeError(f"{type(self).__name__} must define reads")

    def outputs(self, data: Mixture) -> int:
        """How many numbers the head gives."""
        raise TypeError(f"{type(self).__name__} must define outputs")

    def target_fields(self, data: Mixture) -> dict[str, Field]:
        """What answers are trained towards."""
        raise TypeError(f"{type(self).__name__} must define target_fields")

    def labelled(self, sample: Sample) -> bool:
        """Whether the sample says what is right."""
        raise TypeError(f"{type(self).__name__} must define labelled")

    def known(self, reads: Reads, batch: Batch) -> Tensor:
        """Of which samples the right answer is known, bool [B]; the others' losses mean nothing and weigh nothing."""
        raise TypeError(f"{type(self).__name__} must define known")

    def task_loss(self, reads: Reads, logits: Tensor, batch: Batch) -> Tensor:
        """`logits` as `arranged` gives them -> losses [N], of which each sample has as many as any other."""
        raise TypeError(f"{type(self).__name__} must define task_loss")

    def arranged(self, logits: Tensor) -> Tensor:
        """What a head says of each pair, [B, outputs] or [B, options, outputs] -> [N, two classes or more]."""
        return logits

    def choice_scores(self, logits: Tensor) -> Tensor:
        """What a head says -> logits over the choices that a teacher has too, [B, N]."""
        return logits

    def right(self, reads: Reads, batch: Batch) -> Tensor | None:
        """Which option is right, int64 [B], -1 = unknown; None where there are no options."""
        return None

    def prepare(self, data: Mixture) -> None:
        """Put the head on where there is none that fits.

        Raises:
            UserError: no source has labels, or they are others than this task's.
        """
        fit_features(self.student, data)
        firsts = list(first_samples(data))
        if not any(self.labelled(sample) for sample in firsts):
            raise UserError(f"`data.train`: '{firsts[0].id}' has no label, nor has another source's first sample")
        wanted = self.outputs(data)
        # Drawn whether needed or not: what is drawn next is the same for a student that brings its head.
        seed = int(torch.randint(SEEDS, (1,)))
        if self.student.config.heads.get(self.HEAD) != wanted:
            self.student.add_heads({self.HEAD: wanted}, seed)
        if self.targeted is not None:
            self.targeted.prepare(data)

    def fields(self, data: Mixture) -> dict[str, Field]:
        """Texts, what the student sees of pictures, and targets.

        Raises:
            UserError: the data has no such texts or no regions, or their features don't fit the student.
        """
        limit = self.settings.max_tokens
        found: dict[str, Field] = {**picture_fields(self.student, data), **self.target_fields(data)}
        texts = {reads: FusionTexts(self.student, reads, max_tokens=limit) for reads in self.reads()}
        found |= {str(reads): one for reads, one in texts.items()}
        return found if self.targeted is None else found | self.targeted.fields(data, texts)

    def trainable(self) -> Iterator[Trainable]:
        """The shares of the learning rate of the head and of an image tower are options."""
        scales = {f"student.heads.{self.HEAD}.": self.settings.head_lr, "student.clip.": self.settings.tower_lr}
        return scaled(super().trainable(), scales)

    def encode(self, batch: Batch) -> Features:
        """`logits/READS` of each of the texts, [B, outputs] or [B, options, outputs]; and what a teacher sees."""
        seen = self.student.see(batch)
        found: Features = {}
        for reads in self.reads():
            inputs = fusion_inputs(seen, reads)
            output = self.student(inputs)
            found[f"logits/{reads}"] = self._answered(output, inputs, reads, batch)
            if self.targeted is not None:
                found |= self.targeted.features(reads, output, batch)
        return found

    def gathers(self, name: str) -> bool:
        """Nothing: each sample's loss is its own."""
        return False

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """`task`, and `divergence` with adversarial training: of each sample, the mean over what is known of it."""
        # Answers alone go on from `encode`: whoever shifts what is seen has to look once more.
        seen = batch if self.settings.adversarial is None else self.student.see(batch)
        parts = [self._losses(reads, features[f"logits/{reads}"], seen) for reads in self.reads()]
        known = torch.stack([self.known(reads, batch) for reads in self.reads()]).to(parts[0]["task"].dtype)
        share = known / known.sum(dim=0).clamp_min(1)
        found = {term: (torch.stack([part[term] for part in parts]) * share).sum(dim=0) for term in parts[0]}
        if self.targeted is None:
            return found
        taught = []
        for reads in self.reads():
            scores = self.choice_scores(features[f"logits/{reads}"])
            taught.append(self.targeted.losses(reads, features, batch, scores, self.right(reads, batch)))
        return found | {term: torch.stack([part[term] for part in taught]).mean(dim=0) for term in taught[0]}

    def sample_weights(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """How many answers are known of each sample: the mean is over answers, not over samples.

        A teacher's terms are of every sample, labelled or not.
        """
        known = torch.stack([self.known(reads, batch) for reads in self.reads()]).sum(dim=0).float()
        return {term: known for term in self.weights if term in ("task", "divergence")}

    def _losses(self, reads: Reads, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`task` and perhaps `divergence`, [B] each."""
        size = len(logits)

        def loss(arranged: Tensor) -> Tensor:
            return self.task_loss(reads, arranged, batch)

        spec = self.settings.adversarial
        if spec is None:
            return {"task": loss(self.arranged(logits)).reshape(size, -1).mean(dim=1)}
        inputs = fusion_inputs(batch, reads)
        score = self._scored(inputs, reads, logits, batch)
        task, divergence = adversarial_losses(
            score, loss, nothing_shifted(self.student, inputs, spec), dict.fromkeys(("words", "regions"), spec.lr),
            steps=spec.steps, kl_weight=spec.weight, kl=self.DIVERGENCE, alternate=spec.modality == "alternate",
        )  # fmt: skip
        return {
            "task": task.reshape(size, -1).mean(dim=1),
            "divergence": divergence.reshape(size, -1).mean(dim=1),
        }

    def _scored(
        self, inputs: FusionInputs, reads: Reads, plain: Tensor, batch: Batch
    ) -> Callable[[dict[str, Tensor]], Tensor]:
        """Shifts -> answers; without any, those that `encode` has given already, whose graph is there."""

        def score(shifts: dict[str, Tensor]) -> Tensor:
            return self.arranged(self._logits(inputs, reads, batch, shifts) if shifts else plain)

        return score

    def _logits(
        self, inputs: FusionInputs, reads: Reads, batch: Batch, shifts: dict[str, Tensor] | None = None
    ) -> Tensor:
        shifts = shifts or {}
        output = self.student(inputs, word_shift=shifts.get("words"), region_shift=shifts.get("regions"))
        return self._answered(output, inputs, reads, batch)

    def _answered(self, output: FusionOutput, inputs: FusionInputs, reads: Reads, batch: Batch) -> Tensor:
        found: Tensor = self.student.scores(self.HEAD, output, inputs)
        texts: Tensor = batch[f"{reads}/ids"]
        return found.unflatten(0, tuple(texts.shape[:2])) if texts.ndim == 3 else found


def scaled(trainable: Iterable[Trainable], scales: Mapping[str, float]) -> Iterator[Trainable]:
    """`trainable` with other shares of the learning rate, by the beginnings of names."""
    for each in trainable:
        scale = next((scale for name, scale in scales.items() if each.name.startswith(name)), each.lr_scale)
        yield Trainable(each.name, each.parameter, scale, each.decay)


def set_tower(student: Any, settings: Any) -> None:
    """Train or freeze a student's image tower as the option `tower_lr` says.

    Raises:
        UserError: it says so of a student that has none to train.
    """
    if "tower_lr" in settings.model_fields_set and student.sees != "pixels":
        raise UserError(f"`task.tower_lr`: '{student.name}' has no image tower that trains; leave it out")
    student.train_tower(settings.tower_lr > 0)
