"""What fusion models are pretrained on: masked words, masked regions, pictures or texts that may be wrong ones.

What is drawn is a function of seed, epoch and sample: the same in whatever batch, micro-batch or process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clipdistill.data.draws import integer
from clipdistill.data.exchanged_words import Classes, exchanged
from clipdistill.data.fields import Draw
from clipdistill.data.fusion_fields import Coded
from clipdistill.data.fusion_regions import FusionRegions
from clipdistill.data.question_texts import TrueText
from clipdistill.data.sample import Sample
from clipdistill.data.tagged_text import TaggedText
from clipdistill.data.true_texts import TrueTexts
from clipdistill.errors import UserError

SHARE = 0.15
"""Of words, and of regions, that are masked; at least one of each sample's."""
LOOKED_AT = 100


class MaskedTexts(TrueTexts):
    """`TrueTexts` with masked words, and `NAME/wanted` int64 [B, L]: the number of each masked word, -1 elsewhere.

    Of the chosen words 80 % become [MASK], 10 % another word, 10 % stay, as in BERT. Marks aren't chosen.

    Args:
        whole_words: choose words and not their pieces, as VL-BERT does. share: of words that are chosen.
    """

    def __init__(
        self, model: Any, reads: TrueText, name: str, max_tokens: int | None = None, whole_words: bool = False,
        share: float = SHARE,
    ) -> None:  # fmt: skip
        super().__init__(model, reads, name, max_tokens)
        self.whole_words, self.share = whole_words, share
        self._how = whole_words, share
        # Asked of the tokenizer once: each of these takes it longer than a text.
        self._marks = frozenset(self.tokenizer.all_special_ids)
        self._others = int(self.tokenizer.convert_tokens_to_ids("!")), len(self.tokenizer)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and isinstance(other, MaskedTexts) and self._how == other._how

    __hash__ = None  # type: ignore[assignment]

    def row(self, sample: Sample, draw: Draw) -> tuple[Coded, list[int]]:
        """A text's tokens and what stood there."""
        ids, types, tags = super().row(sample, draw)
        dice = dice_of(draw, "words", sample)
        words = [[place] for place, number in enumerate(ids) if number not in self._marks]
        if self.whole_words:
            words = _joined(words, [piece.startswith("##") for piece in self.tokenizer.convert_ids_to_tokens(ids)])
        wanted = [-1] * len(ids)
        for place in (place for number in chosen(dice, range(len(words)), self.share) for place in words[number]):
            wanted[place], lot = ids[place], dice.random()
            if lot < 0.8:
                ids[place] = self.tokenizer.mask_token_id
            elif lot < 0.9:
                ids[place] = int(dice.integers(*self._others))
        return (ids, types, tags), wanted

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Padded to the longest."""
        found = super().collate([coded for coded, _ in rows])
        wanted = torch.full_like(found[f"{self.name}/ids"], -1)
        for place, (_, row) in enumerate(rows):
            wanted[place, : len(row)] = torch.tensor(row)
        return {**found, f"{self.name}/wanted": wanted}


class ExchangedTexts(TrueTexts):
    """`TrueTexts` that say something else of the picture half of the times, by exchanged words (`exchanged_words`).

    Adds `is_own` int64 [B], 1 = as it was, `can_differ` bool [B]: whether the text has words to exchange; one that has
    none stays as it is and says nothing of matching; and `NAME/exchanged` int64 [B, L], 1 = a token of an exchanged
    word, 0 = another word, -1 = a mark or padding. Of a question with its answer (and reason) the last text is changed,
    so that what is asked stays. Tags keep their place.

    Args:
        classes: words, each of which may become another of its class; none = two words of a kind change places.

    Raises:
        UserError: none of the first samples has words to exchange.
    """

    def __init__(
        self, model: Any, reads: TrueText, name: str, max_tokens: int | None = None, classes: Classes = ()
    ) -> None:
        super().__init__(model, reads, name, max_tokens)
        self.classes = classes
        self._marks = frozenset(self.tokenizer.all_special_ids)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and isinstance(other, ExchangedTexts) and self.classes == other.classes

    __hash__ = None  # type: ignore[assignment]

    def check(self, data: Any) -> None:
        """The texts must be there, and some of them have words to exchange."""
        super().check(data)
        dice = np.random.Generator(np.random.PCG64(0))
        for row in range(min(LOOKED_AT, len(data))):
            if any(exchanged(list(one.values())[-1], self.classes, dice) for one in self.texts(data[row])):
                return
        count = min(LOOKED_AT, len(data))
        if self.classes:
            raise UserError(f"`task.exchange`: none of the words stand in the texts of the first {count} samples")
        raise UserError(
            f"`task.negatives`: no text of the first {count} samples has two words of a kind; name words in "
            "`task.exchange`"
        )

    def row(self, sample: Sample, draw: Draw) -> tuple[Coded, list[int], int, bool]:
        """A text's tokens, which are exchanged, whether it is as it was, and whether it could be another."""
        texts, dice = self.drawn(sample, draw), dice_of(draw, "exchanged", sample)
        own, last = dice.random() < 0.5, list(texts)[-1]
        other = exchanged(texts[last], self.classes, dice)
        found, changed = texts, dict.fromkeys(texts, TaggedText(""))
        if other is not None and not own:
            found = {**texts, last: other.text}
            changed[last] = TaggedText(other.text.text, other.words)
        marked = {name: TaggedText(text.text, changed[name].tags) for name, text in found.items()}
        coded, (ids, _, exchanged_ones) = self._coded(found), self._coded(marked)
        flags = [
            -1 if number in self._marks else int(tag >= 0) for number, tag in zip(ids, exchanged_ones, strict=True)
        ]
        return coded, flags, int(own or other is None), other is not None

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Padded to the longest."""
        found = super().collate([coded for coded, *_ in rows])
        flags = torch.full_like(found[f"{self.name}/ids"], -1)
        for place, (_, row, _, _) in enumerate(rows):
            flags[place, : len(row)] = torch.tensor(row)
        return {
            **found, f"{self.name}/exchanged": flags,
            "is_own": torch.tensor([own for *_, own, _ in rows]),
            "can_differ": torch.tensor([can for *_, can in rows]),
        }  # fmt: skip


class DrawnRegions(FusionRegions):
    """The picture's regions, and what is drawn for them.

    Adds `hidden_regions` bool [B, M], the masked ones; with `others`, of another picture of the data, or half of the
    times of the own one, `other/...`: what `FusionRegions` gives, no object shown, with `is_own` int64 [B], 1 = the own
    picture; with `classes`, `region_classes` float32 [B, M, C], what each region is.

    Raises:
        UserError: with `classes`, regions without class names.
    """

    def __init__(self, data: Any, width: int | None = None, others: bool = True, classes: bool = False) -> None:
        super().__init__(data, width)
        self.others, self.classes = others, classes
        if classes and not self.store.class_outputs:
            raise UserError(f"{self.store.path}: its regions have no class names; leave `region_classes` out")

    def row(self, sample: Sample, draw: Draw) -> Any:
        """Where the store has both, and the choices."""
        own, dice = super().row(sample, draw), dice_of(draw, "regions", sample)
        other = int(self.rows[draw.position])
        wrong = self.others and len(self.rows) > 1 and dice.random() < 0.5
        if wrong:  # any other sample's: a question about the same picture may come up, as rarely as pictures repeat
            step = int(dice.integers(1, len(self.rows)))
            other = int(self.rows[(draw.position + step) % len(self.rows)])
        return own, other, int(not wrong), int(dice.integers(2**31))

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Looked up together."""
        found = super().collate([own for own, *_ in rows])
        hidden = torch.zeros_like(found["region_mask"])
        for place, (*_, seed) in enumerate(rows):
            dice = np.random.Generator(np.random.PCG64(seed))
            there = found["region_mask"][place].nonzero().flatten().tolist()
            hidden[place, chosen(dice, there)] = True
        found["hidden_regions"] = hidden
        if self.classes:
            numbers = np.asarray([row for (row, _), *_ in rows])
            found["region_classes"] = torch.as_tensor(self.store.class_shares(numbers, self.max_regions))
        if self.others:
            other = super().collate([(row, boxes) for (_, boxes), row, _, _ in rows])
            # Words point nowhere, in either picture: where they point would tell which one it is.
            other["object_regions"] = torch.full_like(other["object_regions"], -1)
            found |= {f"other/{name}": value for name, value in other.items()}
            found["is_own"] = torch.tensor([same for _, _, same, _ in rows])
        return found


def dice_of(draw: Draw, what: str, sample: Sample) -> np.random.Generator:
    """What `what` of a sample is drawn with, in an epoch."""
    return np.random.Generator(np.random.PCG64(integer(2**63, draw.seed, "masking", what, draw.epoch, sample.id)))


def chosen(dice: np.random.Generator, places: Sequence[int], share: float = SHARE) -> list[int]:
    """About a share of `places`, and one at least."""
    lots = dice.random(len(places))
    found = [place for place, lot in zip(places, lots, strict=True) if lot < share]
    return found or [places[int(np.argmin(lots))]] if places else []


def _joined(words: Sequence[list[int]], inside: Sequence[bool]) -> list[list[int]]:
    """Places of pieces as words: those that `inside` says are the inside of a word stand with the one before them."""
    found: list[list[int]] = []
    for word in words:
        if found and inside[word[0]] and found[-1][-1] == word[0] - 1:
            found[-1] += word
        else:
            found.append(word)
    return found
