"""Teachers of questions: CLIP's word on pictures, texts and words is stored before the training, and looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdistill.data import AugmentPlan, Mixture
from clipdistill.engine.forecast import seconds_of
from clipdistill.errors import UserError
from clipdistill.runs.data import Data
from clipdistill.runs.teachers import TeacherState
from clipdistill.stores.facts import require_same
from clipdistill.stores.question_cache import cache_questions, question_facts, time_questions
from clipdistill.stores.question_targets import DryQuestions, QuestionSettings, QuestionTargets
from clipdistill.tasks.teacher import StoredQuestions

TIMED = 8
"""Questions that are read to time the teacher."""
COMPARED = ("teacher_fingerprint", "questions", "answers", "fields")


@dataclass
class QuestionTeacher(TeacherState):
    """A CLIP whose word on questions is stored; `options` are those that its store depends on."""

    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.spec.store is None:
            raise UserError(
                f"`teachers.{self.index}.store` is missing: what CLIP says of questions is stored before the training; "
                "name a folder"
            )

    def open_store(self, data: Data, plan: AugmentPlan) -> None:
        """Open the store when it is written, and check it against teacher, settings and data.

        A store of all of the data serves any draw from it.
        """
        path = Path(str(self.spec.store))
        if not (path / "store.json").is_file():
            return
        store = QuestionTargets.open(path)
        settings, answers = self.settings(data.whole), vocabulary(data.whole)
        if self.model is not None:
            wanted = question_facts(self.model, data.whole, settings, str(self.fingerprint()), answers)
            require_same(path, store.meta, {fact: wanted[fact] for fact in COMPARED})
        else:
            require_same(path, store.meta, {"questions": settings.facts()})
        self.store = store  # type: ignore[assignment]
        StoredQuestions(store).rows(data.mixture.ids)

    def settings(self, data: Mixture) -> QuestionSettings:
        """What is stored of these data: every text that a task could read."""
        fields = data[0].fields
        if "choices" in fields:
            reads: tuple[str, ...] = ("answers", "rationales") if "rationales" in fields else ("answers",)
        elif "hypothesis" in fields:
            reads = ("hypothesis",)
        elif "question" in fields:
            reads = ("question",)
        else:
            raise UserError(f"'{data[0].id}' has no question that a teacher could read; give data of questions")
        asked = dict(self.options)
        if reads != ("question",):
            asked["template"] = ""
        return QuestionSettings(reads, **asked)

    def make(self, mixture: Mixture, device: Any) -> Any:
        """As a task takes it."""
        return StoredQuestions(self.store)

    def dry(self, student: Any, mixture: Mixture, device: Any) -> Any:
        """Noise of the right shapes while the store is still to come."""
        if self.store is not None:
            return self.make(mixture, device)
        settings, model = self.settings(mixture), self.model
        assert model is not None
        answers = len(vocabulary(mixture)) if settings.template else 0
        return StoredQuestions(
            DryQuestions(self.spec.label, int(model.embed_dim), model.logit_scale.item(), settings, answers)
        )

    def cost(self, data: Data, plan: AugmentPlan, device: Any) -> tuple[float, int]:
        """Seconds and bytes of the store, from a few questions."""
        assert self.model is not None
        settings, whole = self.settings(data.whole), data.whole
        answers = vocabulary(whole) if settings.template else []
        count = min(TIMED, len(whole))
        read = time_questions(self.model, whole, settings, answers, range(count), device)
        read()
        seconds = seconds_of(read, device) / count
        options = sum({"answers": 4, "rationales": 4}.get(reads, 1) for reads in settings.reads)
        numbers = int(self.model.embed_dim) * (1 + options * (1 + settings.words)) + len(answers)
        return seconds * len(whole), (2 * numbers + 16 * options * settings.words + 64) * len(whole)

    def write(
        self, data: Data, plan: AugmentPlan, *, batch_size: int, workers: int, ranks: Any, max_bad_share: float,
        progress: Callable[[int, int], None],
    ) -> Any:  # fmt: skip
        """Write the store; a killed one goes on."""
        assert self.model is not None
        cache_questions(
            self.model, data.whole, self.settings(data.whole), str(self.spec.store),
            fingerprint=str(self.fingerprint()), answers=vocabulary(data.whole), batch_size=batch_size, workers=workers,
            device=ranks.device, rank=ranks.rank, world_size=ranks.world_size, max_bad_share=max_bad_share,
            progress=progress,
        )  # fmt: skip
        ranks.barrier()
        return QuestionTargets.open(str(self.spec.store))


def vocabulary(data: Mixture) -> list[str]:
    """The answers that the data's questions can have; none for data of options or classes."""
    return [str(word) for word in next((s.answers for s in data.sources if hasattr(s, "answers")), ())]
