"""QuestionTargets: what a CLIP says of questions' pictures, texts and words, looked up by sample; it never runs again.

Arrays: `image` [D] a sample; for each of the texts that are read, READS: `READS_text` [D] an option, the end of text;
`READS_words` [D], ragged, the words that were chosen of an option, best first, as they stand in it; `READS_places`
[4], the same, float32: number of the part, start, end, score; and `READS_logits` [N] a sample, of the answers as
prompts, where a vocabulary was given. Embeddings are as long as the teacher makes them, in half precision.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clipdistill.data.joined_text import TeacherText
from clipdistill.data.question_texts import OPTIONS
from clipdistill.errors import UserError
from clipdistill.stores.arrays import ArraySpec
from clipdistill.stores.store import Store
from clipdistill.stores.word_choice import Selection


@dataclass(frozen=True)
class QuestionSettings:
    """What is stored of a source of questions.

    Attributes:
        reads: the texts. words: chosen of each, at most. selection, seed: how.
        text: what the teacher reads of an option: question and answer (and reason), the last of them alone, or
            what they say together, as a statement.
        template: of the answers as prompts, holding {answer}; empty = none are encoded.
    """

    reads: tuple[str, ...]
    words: int = 3
    selection: Selection = "scores"
    seed: int = 0
    text: TeacherText = "pair"
    template: str = ""

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def question_arrays(settings: QuestionSettings, width: int, answers: int) -> list[ArraySpec]:
    """What a store of these settings holds."""
    found = [ArraySpec("image", width, "sample")]
    for reads in settings.reads:
        ragged: dict[str, Any] = {"key": "field", "field": reads, "ragged": True, "about": settings.words}
        found += [
            ArraySpec(f"{reads}_text", width, "field", field=reads),
            ArraySpec(f"{reads}_words", width, **ragged),
            ArraySpec(f"{reads}_places", 4, dtype="float32", **ragged),
        ]
    return found + ([ArraySpec("logits", answers, "sample")] if settings.template else [])


class QuestionTargets(Store):
    """Targets of N samples. `meta` says teacher, settings, widths and fingerprints."""

    WHAT, KIND = "store of questions' targets", "questions"

    @property
    def logit_scale(self) -> float:
        """The teacher's scale of cosines."""
        return float(self.meta["logit_scale"])

    @property
    def width(self) -> int:
        """D."""
        return int(self.meta["embed_dim"])

    def image(self, rows: Any) -> np.ndarray:
        """[B, D] float32; UserError for a picture that couldn't be read."""
        rows = self.checked(rows)
        unread = np.isin(rows, self._unread)
        if unread.any():
            name = self.ids[int(rows[np.argmax(unread)])]
            raise UserError(f"{self.path}: no target for {name}, whose picture couldn't be read ({self.bad[name]})")
        return self.take("image", rows)

    def texts(self, row: int, reads: str, options: Any = None) -> np.ndarray:
        """[O, D] of a sample's options, or of those asked for."""
        slots = self._slots(reads) if options is None else np.asarray(options)
        return self.take(f"{reads}_text", np.full(len(slots), row), slots)

    def words(self, row: int, reads: str, count: int, options: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Words [O, count, D], their places [O, count, 4] and mask bool [O, count] of a sample's options."""
        slots = self._slots(reads) if options is None else np.asarray(options)
        rows = np.full(len(slots), row)
        words, mask = self.padded(f"{reads}_words", rows, count, slots)
        return words, self.padded(f"{reads}_places", rows, count, slots)[0], mask

    def logits(self, rows: Any) -> np.ndarray:
        """[B, N] float32, of the answers as prompts."""
        return self.take("logits", rows)

    @staticmethod
    def _slots(reads: str) -> np.ndarray:
        return np.arange(max(1, OPTIONS[reads]))


class DryQuestions:
    """Stands in a forecast for a store that isn't written yet: noise of the right shapes, the first letter as words."""

    path = "teacher"

    def __init__(self, teacher: str, width: int, logit_scale: float, settings: QuestionSettings, answers: int) -> None:
        self.width, self.logit_scale, self._answers = width, logit_scale, answers
        self.meta = {"teacher": teacher, "questions": settings.facts(), "answers": [""] * answers}
        self._draw = np.random.default_rng(0)

    def rows(self, ids: Any) -> np.ndarray:
        """A row a sample."""
        return np.arange(len(ids))

    def take(self, name: str, rows: Any) -> np.ndarray:
        """[B, D]."""
        return self._draw.standard_normal((len(rows), self.width), dtype=np.float32)

    def image(self, rows: Any) -> np.ndarray:
        """[B, D]."""
        return self.take("image", rows)

    def logits(self, rows: Any) -> np.ndarray:
        """[B, N]."""
        return self._draw.standard_normal((len(rows), self._answers), dtype=np.float32)

    def texts(self, row: int, reads: str, options: Any = None) -> np.ndarray:
        """[O, D]."""
        return self.take(reads, range(max(1, OPTIONS[reads])) if options is None else options)

    def words(self, row: int, reads: str, count: int, options: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[O, count, D], [O, count, 4], [O, count]."""
        size = len(self.texts(row, reads, options))
        places = np.tile(np.array([0, 0, 1, 1], np.float32), (size, count, 1))
        noise = self._draw.standard_normal((size, count, self.width), dtype=np.float32)
        return noise, places, np.ones((size, count), bool)
