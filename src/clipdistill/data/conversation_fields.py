"""Conversations as what a batch holds: token numbers, and what of them is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from clipdistill.data.fields import Draw, Field
from clipdistill.data.sample import Sample
from clipdistill.errors import UserError

IGNORED = -100


class Conversations(Field):
    """Conversations as a VLM reads them: `NAME/ids` and `NAME/labels` int64 [B, L], `NAME/mask` bool [B, L].

    L is that of the batch's longest. Padding stands behind; its mask is False, its number 0 and its label `IGNORED`, as
    is the label of whatever isn't learnt: all but the answers.

    Args:
        model: a VLM, whose `coder` lays conversations out. style: how, see `models.vlm.conversation`.
        max_tokens: longer ones lose their end, a picture's tokens counted.
    """

    READS = ("conversation", "shown")

    def __init__(self, model: Any, style: Literal["chat", "plain"], max_tokens: int, name: str = "text") -> None:
        self.coder, self.style, self.max_tokens, self.name = model.coder, style, max_tokens, name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Conversations):
            return NotImplemented
        same = (self.style, self.max_tokens, self.name) == (other.style, other.max_tokens, other.name)
        return same and (self.coder is other.coder or self.coder.key() == other.coder.key())

    __hash__ = None  # type: ignore[assignment]

    def check(self, data: Any) -> None:
        """The first sample of each source must be a conversation."""
        for positions, _ in data.layout():
            if len(positions):
                self._turns(data[positions.start])

    def row(self, sample: Sample, draw: Draw) -> Any:
        """Coded, cut to `max_tokens`."""
        return self.coded(sample).cut(self.max_tokens)

    def coded(self, sample: Sample) -> Any:
        """All of it."""
        return self.coder.conversation(self._turns(sample), bool(sample.fields["shown"]), self.style)

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Padded to the longest."""
        shape = (len(rows), max(len(one.ids) for one in rows))
        ids, labels = torch.zeros(shape, dtype=torch.int64), torch.full(shape, IGNORED)
        mask = torch.zeros(shape, dtype=torch.bool)
        for place, one in enumerate(rows):
            end = len(one.ids)
            ids[place, :end], labels[place, :end] = torch.tensor(one.ids), torch.tensor(one.labels)
            mask[place, :end] = True
        return {f"{self.name}/ids": ids, f"{self.name}/labels": labels, f"{self.name}/mask": mask}

    def _turns(self, sample: Sample) -> tuple[str, ...]:
        found: tuple[str, ...] | None = sample.fields.get("conversation")
        if found is None:
            raise UserError(f"'{sample.id}' is no conversation; train on data of format llava")
        return found


def too_long(data: Any, field: Conversations) -> tuple[list[str], list[str]]:
    """Which conversations are cut, and which of them lose all that is learnt from them; by their ids.

    Only those are coded that could be too long: a token is a byte of text at least.
    """
    around = len(field.coder.conversation(("", ""), False, field.style).ids)
    cut, lost = [], []
    for position in range(len(data)):
        sample = data[position]
        turns = field._turns(sample)
        most = field.coder.image_tokens + around * (len(turns) // 2) + sum(len(text.encode()) for text in turns)
        if most <= field.max_tokens:
            continue
        coded = field.coded(sample)
        if len(coded.ids) > field.max_tokens:
            cut.append(sample.id)
            if all(label == IGNORED for label in coded.labels[: field.max_tokens]):
                lost.append(sample.id)
    return cut, lost
