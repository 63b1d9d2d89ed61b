"""Writing QuestionTargets: a CLIP reads every question once, block by block; a killed run goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipdistill.data import ImageView, Mixture, evaluation_batches
from clipdistill.data.joined_text import READ_AS, Joined
from clipdistill.data.keywords import words_of
from clipdistill.data.question_texts import OPTIONS, fields_read, question_texts
from clipdistill.errors import UserError
from clipdistill.models.text_memo import TokenMemo
from clipdistill.stores.encoder import evaluating
from clipdistill.stores.facts import VERSION
from clipdistill.stores.question_targets import QuestionSettings, QuestionTargets, question_arrays
from clipdistill.stores.store import opened_or_written
from clipdistill.stores.word_choice import choose_words, pooled_words
from clipdistill.stores.writer import ShardWriter

BLOCK = 256
"""Questions a block: what a kill can cost."""


def question_facts(
    model: Any, mixture: Mixture, settings: QuestionSettings, fingerprint: str, answers: Sequence[str]
) -> dict[str, Any]:
    """What a store of these questions says of itself."""
    fields = sorted({name for reads in settings.reads for name in fields_read(reads)})  # type: ignore[arg-type]
    return {
        "version": VERSION, "kind": "questions", "teacher": model.name, "teacher_fingerprint": fingerprint,
        "features": "questions", "embed_dim": int(model.embed_dim), "logit_scale": model.logit_scale.item(),
        "questions": settings.facts(), "answers": list(answers) if settings.template else [],
        "data_fingerprint": mixture.fingerprint(), "fields": mixture.fields_fingerprint(fields),
        "samples": len(mixture), "dtype": "float16",
    }  # fmt: skip


@torch.no_grad()
def cache_questions(
    model: Any,
    mixture: Mixture,
    settings: QuestionSettings,
    path: str | Path,
    *,
    fingerprint: str,
    answers: Sequence[str] = (),
    batch_size: int = 256,
    workers: int = 0,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    max_bad_share: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
) -> QuestionTargets | None:
    """Write (or go on writing) what a CLIP says of every question of a mixture. Shared: a second process waits.

    Args:
        model: a DualEncoder. fingerprint: of it. answers: a vocabulary, with `settings.template`.
        batch_size: texts, or pictures, that are encoded at once. max_bad_share: of this rank's pictures.
        progress: called with (questions done, questions in all).

    Returns:
        The opened store, or None while other ranks are still at work.

    Raises:
        UserError: the folder holds another store (says what differs), too many unreadable pictures, a full disk, or a
            template without {answer}.
    """
    if settings.template and "{answer}" not in settings.template:
        raise UserError(f"`task.distil.template`: '{settings.template}' has no {{answer}} in it")
    model.to(device)
    facts = question_facts(model, mixture, settings, fingerprint, answers) | {"world_size": world_size}
    arrays = question_arrays(settings, int(model.embed_dim), len(facts["answers"]))
    slots = {f"field {reads}": partial(_options, reads) for reads in settings.reads}
    reader = _Reader(model, mixture, settings, torch.device(device), batch_size, workers, facts["answers"])

    def work(shard: ShardWriter) -> None:
        for number, block in enumerate(shard.blocks):
            if not shard.is_done("image", number):
                rows, counts, bad = reader.block(range(shard.start + block.start, shard.start + block.stop))
                shard.write(number, rows, counts=counts, bad=bad)
                shard.stop_if_too_bad(max_bad_share)
            if progress is not None:
                progress(min(len(mixture), (shard.start * (world_size == 1) + block.stop) * world_size), len(mixture))

    with evaluating(model):
        return opened_or_written(
            QuestionTargets, Path(path), facts, mixture.ids, arrays, work, slots=slots, rank=rank, block_rows=BLOCK
        )


def time_questions(
    model: Any, mixture: Mixture, settings: QuestionSettings, answers: Sequence[str], rows: range, device: Any
) -> Callable[[], Any]:
    """Some questions, ready to be read, for a forecast."""
    model.to(device)

    def read() -> Any:
        with torch.no_grad(), evaluating(model):
            return _Reader(model, mixture, settings, torch.device(device), 64, 0, answers).block(rows)

    return read


def _options(reads: str, _position: int) -> int:
    return max(1, OPTIONS[reads])


@dataclass
class _Reader:
    """A teacher at work. Pictures and texts that questions share, and words for themselves, are encoded once."""

    model: Any
    mixture: Mixture
    settings: QuestionSettings
    device: torch.device
    batch_size: int
    workers: int
    answers: Sequence[str]

    def __post_init__(self) -> None:
        self._view = ImageView.from_preprocess(self.model.preprocess)
        self._images: dict[str, Tensor] = {}
        self._reasons: dict[str, str] = {}
        self._words: dict[str, Tensor] = {}
        self._tokens = TokenMemo(self.model)
        self._prompts: Tensor | None = None

    def block(self, rows: range) -> tuple[dict[str, np.ndarray], dict[str, list[int]], list[dict[str, str]]]:
        """Arrays, counts of the ragged ones, and samples whose picture can't be read."""
        self._see(rows)
        keys = [self.mixture.picture_ids[row] for row in rows]
        zero = torch.zeros(int(self.model.embed_dim))
        images = torch.stack([self._images.get(key, zero) for key in keys])
        found: dict[str, np.ndarray] = {"image": images.numpy()}
        counts: dict[str, list[int]] = {}
        for reads in self.settings.reads:
            texts = [self._texts(row, reads) for row in rows]
            self._read(reads, rows, texts, images, found, counts)
        if self.settings.template:
            found["logits"] = self._answer_logits(images).numpy()
        bad = [
            {"id": self.mixture.ids[row], "reason": self._reasons[key]}
            for row, key in zip(rows, keys, strict=True)
            if key in self._reasons
        ]
        return found, counts, bad

    def _texts(self, row: int, reads: Any) -> list[Joined]:
        return [READ_AS[self.settings.text](parts) for parts in question_texts(self.mixture[row], reads)]

    def _see(self, rows: range) -> None:
        new = [row for row in rows if self.mixture.picture_ids[row] not in self._images]
        firsts = {self.mixture.picture_ids[row]: row for row in reversed(new)}
        todo = [row for key, row in firsts.items() if key not in self._reasons]
        if not todo:
            return
        for batch in evaluation_batches(self.mixture, self._view, self.batch_size, self.workers, rows=sorted(todo)):
            for item in batch["bad"]:
                place = self.mixture.ids.index(item["id"])
                self._reasons[self.mixture.picture_ids[place]] = str(item["reason"])
            if not len(batch["sample"]):
                continue
            embedded = self._run(self.model.encode_image, batch["image/model"])
            for row, one in zip(batch["sample"].tolist(), embedded, strict=True):
                self._images[self.mixture.picture_ids[row]] = one

    def _read(
        self, reads: str, rows: range, texts: list[list[Joined]], images: Tensor, found: dict[str, np.ndarray],
        counts: dict[str, list[int]],
    ) -> None:  # fmt: skip
        """Texts and words of all options of some questions."""
        flat = [text for one in texts for text in one]
        owner = [(place, option) for place, one in enumerate(texts) for option in range(len(one))]
        ends, words, places, number = [], [], [], []
        for start in range(0, len(flat), self.batch_size):
            part = flat[start : start + self.batch_size]
            names = [one.text for one in part]
            tokens = self.model.tokenizer(names).to(self.device)
            text, features, mask = self._tokens(tokens)
            ends.append(text.float().cpu())
            spans = self.model.token_offsets(names)
            for offset, one in enumerate(part):
                listed = words_of(one.plain)
                pooled = pooled_words(listed, features[offset].float().cpu(), mask[offset].cpu(), spans[offset])
                found_at = [one.place(word) for word in listed]
                read = (~pooled.isnan().any(dim=1)).tolist()
                there = [real and place is not None for real, place in zip(read, found_at, strict=True)]
                mine, option = owner[start + offset]
                chosen = choose_words(
                    one, listed, there, images[mine], self._alone([word.text for word in listed]),
                    self.settings.words, self.settings.selection, self.settings.seed,
                    (self.mixture.ids[rows[mine]], reads, option),
                )  # fmt: skip
                number.append(len(chosen.places))
                words += [pooled[place] for place in chosen.places]
                places += [(*(found_at[p] or ()), s) for p, s in zip(chosen.places, chosen.scores, strict=True)]
        width = int(self.model.embed_dim)
        found[f"{reads}_text"] = torch.cat(ends).numpy()
        found[f"{reads}_words"] = torch.stack(words).numpy() if words else np.zeros((0, width), np.float32)
        found[f"{reads}_places"] = np.array(places, np.float32).reshape(-1, 4)
        counts[f"{reads}_words"] = counts[f"{reads}_places"] = number

    def _alone(self, words: Sequence[str]) -> Tensor:
        new = [word for word in dict.fromkeys(words) if word not in self._words]
        for start in range(0, len(new), self.batch_size):
            part = new[start : start + self.batch_size]
            for word, one in zip(part, self._run(self.model.encode_text, self.model.tokenizer(part)), strict=True):
                self._words[word] = one
        return torch.stack([self._words[word] for word in words]) if words else torch.zeros(0, self.model.embed_dim)

    def _answer_logits(self, images: Tensor) -> Tensor:
        if self._prompts is None:
            texts = [self.settings.template.replace("{answer}", answer) for answer in self.answers]
            parts = [texts[at : at + self.batch_size] for at in range(0, len(texts), self.batch_size)]
            rows = [self._run(self.model.encode_text, self.model.tokenizer(part)) for part in parts]
            self._prompts = normalize(torch.cat(rows), dim=1)
        found: Tensor = self.model.logit_scale.item() * normalize(images, dim=1) @ self._prompts.T
        return found

    def _run(self, encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            found: Tensor = encode(inputs.to(self.device)).float().cpu()
        return found
